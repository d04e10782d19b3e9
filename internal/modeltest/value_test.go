package modeltest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"sync"
	"testing"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/ylem-co/terraform-provider-ylem/internal/provider"
)

// resourceType is the one type of resource that there is.
const resourceType = "ylem_pipeline_run"

// schemas are asked for once: they do not change, and asking costs more than a plan.
var schemas = sync.OnceValues(func() (*tfprotov6.GetProviderSchemaResponse, error) {
	return provider.NewServerWith("model", nil).GetProviderSchema(context.Background(), &tfprotov6.GetProviderSchemaRequest{})
})

// schema is the resource as Terraform knows it.
type schema struct {
	typ      tftypes.Object
	provider tftypes.Type
	block    *tfprotov6.SchemaBlock
}

func newSchema(t testing.TB) *schema {
	t.Helper()
	all, err := schemas()
	if err != nil {
		t.Fatal(err)
	}
	resource := all.ResourceSchemas[resourceType]
	return &schema{typ: resource.ValueType().(tftypes.Object), provider: all.Provider.ValueType(), block: resource.Block}
}

// object is a value of the resource, by attribute; nil is null.
type object map[string]tftypes.Value

func (s *schema) value(o object) tftypes.Value {
	if o == nil {
		return tftypes.NewValue(s.typ, nil)
	}
	return tftypes.NewValue(s.typ, map[string]tftypes.Value(o))
}

func (s *schema) dynamic(o object) *tfprotov6.DynamicValue { return dynamic(s.typ, s.value(o)) }

func dynamic(typ tftypes.Type, v tftypes.Value) *tfprotov6.DynamicValue {
	d, err := tfprotov6.NewDynamicValue(typ, v)
	if err != nil {
		panic(err)
	}
	return &d
}

func (s *schema) decode(d *tfprotov6.DynamicValue) object {
	if d == nil {
		return nil
	}
	v, err := d.Unmarshal(s.typ)
	if err != nil {
		panic(err)
	}
	return members(v)
}

// members are the attributes of an object; nil if it is null or unknown.
func members(v tftypes.Value) object {
	if v.IsNull() || !v.IsKnown() {
		return nil
	}
	var o map[string]tftypes.Value
	must(v.As(&o))
	return maps.Clone(o) // the value keeps its own
}

func elements(v tftypes.Value) (list []tftypes.Value) {
	if !v.IsNull() && v.IsKnown() {
		must(v.As(&list))
	}
	return list
}

// text is a string; "" if it is null or unknown.
func text(v tftypes.Value) (s string) {
	if !v.IsNull() && v.IsKnown() {
		must(v.As(&s))
	}
	return s
}

func truth(v tftypes.Value) (b bool) {
	if !v.IsNull() && v.IsKnown() {
		must(v.As(&b))
	}
	return b
}

// isNull reports whether a value is known to be null.
func isNull(v tftypes.Value) bool { return v.IsKnown() && v.IsNull() }

func str(s string) tftypes.Value { return tftypes.NewValue(tftypes.String, s) }

func unknown(t tftypes.Type) tftypes.Value { return tftypes.NewValue(t, tftypes.UnknownValue) }

// stored is an object as Terraform's state file holds it.
func (s *schema) stored(o object) []byte {
	b, err := json.Marshal(plain(s.value(o)))
	must(err)
	return b
}

func plain(v tftypes.Value) any {
	if !v.IsKnown() {
		panic("an unknown value cannot be stored")
	}
	if v.IsNull() {
		return nil
	}
	switch t := v.Type(); {
	case t.Is(tftypes.Object{}), t.Is(tftypes.Map{}):
		o := map[string]any{}
		for name, element := range members(v) {
			o[name] = plain(element)
		}
		return o
	case t.Is(tftypes.List{}), t.Is(tftypes.Set{}):
		list := []any{}
		for _, element := range elements(v) {
			list = append(list, plain(element))
		}
		return list
	case t.Is(tftypes.Number):
		var n big.Float
		must(v.As(&n))
		return json.Number(n.Text('f', -1))
	case t.Is(tftypes.Bool):
		return truth(v)
	default:
		return text(v)
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// proposedNew is what Terraform proposes to the provider for a plan: the configuration, and of computed attributes that
// it leaves out, what was there before.
func (s *schema) proposedNew(prior, config object) object {
	proposed := object{}
	for _, a := range s.block.Attributes {
		was := tftypes.NewValue(s.typ.AttributeTypes[a.Name], nil)
		if prior != nil {
			was = prior[a.Name]
		}
		switch configured := config[a.Name]; {
		case a.WriteOnly:
			proposed[a.Name] = tftypes.NewValue(s.typ.AttributeTypes[a.Name], nil)
		case a.Computed && isNull(configured):
			proposed[a.Name] = was
		case a.NestedType != nil && configured.IsKnown() && !configured.IsNull():
			proposed[a.Name] = proposedNested(a.NestedType, was, configured)
		default:
			proposed[a.Name] = configured
		}
	}
	for _, b := range s.block.BlockTypes {
		proposed[b.TypeName] = config[b.TypeName]
	}
	return proposed
}

func proposedNested(nested *tfprotov6.SchemaObject, was, configured tftypes.Value) tftypes.Value {
	o, before := members(configured), members(was)
	for _, a := range nested.Attributes {
		if v, ok := before[a.Name]; ok && a.Computed && isNull(o[a.Name]) {
			o[a.Name] = v
		}
	}
	return tftypes.NewValue(configured.Type(), map[string]tftypes.Value(o))
}

// invalidPlan is what Terraform finds wrong with a planned object: a configured value must be planned as it is, or, where
// the provider takes both for the same, as it was. Only computed attributes may be planned otherwise.
func (s *schema) invalidPlan(prior, config, planned object) error {
	for _, a := range s.block.Attributes {
		was := tftypes.NewValue(s.typ.AttributeTypes[a.Name], nil)
		if prior != nil {
			was = prior[a.Name]
		}
		if err := invalidAttribute(a, was, config[a.Name], planned[a.Name]); err != nil {
			return err
		}
	}
	for _, b := range s.block.BlockTypes {
		if !planned[b.TypeName].Equal(config[b.TypeName]) {
			return fmt.Errorf("block %s is planned as %s", b.TypeName, planned[b.TypeName])
		}
	}
	return nil
}

func invalidAttribute(a *tfprotov6.SchemaAttribute, was, configured, planned tftypes.Value) error {
	switch {
	case planned.Equal(configured),
		planned.Equal(was) && !isNull(was) && !isNull(configured):
		return nil
	case a.WriteOnly:
		if !isNull(planned) {
			return fmt.Errorf("write-only %s is planned", a.Name)
		}
		return nil
	case a.Computed && (!a.Optional || isNull(configured)):
		return nil
	case a.NestedType != nil && !isNull(configured) && configured.IsKnown() && !isNull(planned):
		before, want, got := members(was), members(configured), members(planned)
		for _, nested := range a.NestedType.Attributes {
			inner := tftypes.NewValue(want[nested.Name].Type(), nil)
			if before != nil {
				inner = before[nested.Name]
			}
			if err := invalidAttribute(nested, inner, want[nested.Name], got[nested.Name]); err != nil {
				return fmt.Errorf("%s: %w", a.Name, err)
			}
		}
		return nil
	}
	return fmt.Errorf("%s is planned as %s, but configured as %s, and was %s", a.Name, planned, configured, was)
}

// incompatible is what Terraform finds wrong with what became of a planned value: only what was unknown may differ.
func incompatible(at string, planned, actual tftypes.Value) error {
	switch {
	case !planned.IsKnown():
		return nil
	case isNull(planned) != isNull(actual), isNull(planned):
		if isNull(planned) && isNull(actual) {
			return nil
		}
		return fmt.Errorf("%s was planned as %s, but is %s", at, planned, actual)
	case !actual.IsKnown():
		return fmt.Errorf("%s was planned as %s, but is unknown", at, planned)
	}
	switch t := planned.Type(); {
	case t.Is(tftypes.Object{}), t.Is(tftypes.Map{}):
		want, got := members(planned), members(actual)
		for name, v := range want {
			other, ok := got[name]
			if !ok {
				return fmt.Errorf("%s.%s has vanished", at, name)
			}
			if err := incompatible(at+"."+name, v, other); err != nil {
				return err
			}
		}
		if len(got) != len(want) {
			return fmt.Errorf("%s has %d members, planned were %d", at, len(got), len(want))
		}
	case t.Is(tftypes.List{}):
		want, got := elements(planned), elements(actual)
		if len(got) != len(want) {
			return fmt.Errorf("%s has %d elements, planned were %d", at, len(got), len(want))
		}
		for i := range want {
			if err := incompatible(fmt.Sprintf("%s[%d]", at, i), want[i], got[i]); err != nil {
				return err
			}
		}
	case t.Is(tftypes.Set{}):
		want, got := elements(planned), elements(actual)
		if len(got) != len(want) || !slices.ContainsFunc(want, func(v tftypes.Value) bool { return !v.IsKnown() }) && !planned.Equal(actual) {
			return fmt.Errorf("%s was planned as %s, but is %s", at, planned, actual)
		}
	default:
		if !planned.Equal(actual) {
			return fmt.Errorf("%s was planned as %s, but is %s", at, planned, actual)
		}
	}
	return nil
}
