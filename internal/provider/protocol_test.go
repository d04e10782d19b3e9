package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"reflect"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// object is a configuration or a state: attributes by name. Numbers of a state are float64, as in JSON.
type object map[string]any

// unknown stands for a value that is only known after apply.
type unknown struct{}

// with returns the object with the attributes of more.
func (o object) with(more object) object {
	o = maps.Clone(o)
	maps.Copy(o, more)
	return o
}

// protocol is a provider as terraform talks to it, without a terraform: for the many cases in which only the
// provider's answer counts. One protocol is what one process of the provider is to terraform.
type protocol struct {
	server tfprotov6.ProviderServer
	schema *tfprotov6.GetProviderSchemaResponse
}

func newProtocol(t *testing.T) *protocol {
	t.Helper()
	server, err := factories["ylem"]()
	if err != nil {
		t.Fatal(err)
	}
	schema, err := server.GetProviderSchema(t.Context(), &tfprotov6.GetProviderSchemaRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return &protocol{server: server, schema: schema}
}

// arguments are the provider's arguments for the sandbox.
func (s *sandbox) arguments() object {
	return object{"api_url": s.URL, "client_id": s.client.ID, "client_secret": s.client.Secret}
}

// connect is a provider configured for the sandbox, with more arguments.
func (s *sandbox) connect(t *testing.T, more object) *protocol {
	t.Helper()
	p := newProtocol(t)
	if diags := p.configure(t, s.arguments().with(more)); len(diags) > 0 {
		t.Fatalf("configure: %s", diags)
	}
	return p
}

// configure validates and configures the provider.
func (p *protocol) configure(t *testing.T, arguments object) diagnostics {
	t.Helper()
	config := toDynamic(t, p.schema.Provider.ValueType(), arguments)
	validated, err := p.server.ValidateProviderConfig(t.Context(), &tfprotov6.ValidateProviderConfigRequest{Config: config})
	if err != nil {
		t.Fatal(err)
	}
	if diags := diagnostics(validated.Diagnostics); diags.failed() {
		return diags
	}
	// Terraform's context of a configuration ends with it.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	configured, err := p.server.ConfigureProvider(ctx, &tfprotov6.ConfigureProviderRequest{Config: config, TerraformVersion: "1.11.4"})
	if err != nil {
		t.Fatal(err)
	}
	return append(validated.Diagnostics, configured.Diagnostics...)
}

// validate is what terraform validate, and the first step of every plan, says of a data source.
func (p *protocol) validate(t *testing.T, dataSource string, arguments object) diagnostics {
	t.Helper()
	resp, err := p.server.ValidateDataResourceConfig(t.Context(), &tfprotov6.ValidateDataResourceConfigRequest{
		TypeName: dataSource,
		Config:   toDynamic(t, p.dataType(t, dataSource), arguments),
	})
	if err != nil {
		t.Fatal(err)
	}
	return resp.Diagnostics
}

// read validates and reads a data source.
func (p *protocol) read(t *testing.T, dataSource string, arguments object) (object, diagnostics) {
	t.Helper()
	if diags := p.validate(t, dataSource, arguments); diags.failed() {
		return nil, diags
	}
	return p.readOnly(t.Context(), t, dataSource, arguments)
}

func (p *protocol) readOnly(ctx context.Context, t *testing.T, dataSource string, arguments object) (object, diagnostics) {
	t.Helper()
	typ := p.dataType(t, dataSource)
	resp, err := p.server.ReadDataSource(ctx, &tfprotov6.ReadDataSourceRequest{TypeName: dataSource, Config: toDynamic(t, typ, arguments)})
	if err != nil {
		t.Fatal(err)
	}
	if diags := diagnostics(resp.Diagnostics); diags.failed() {
		return nil, diags
	}
	return fromDynamic(t, typ, resp.State), resp.Diagnostics
}

// mustRead reads a data source without an error or warning.
func (p *protocol) mustRead(t *testing.T, dataSource string, arguments object) object {
	t.Helper()
	state, diags := p.read(t, dataSource, arguments)
	if len(diags) > 0 {
		t.Fatalf("%s: %s", dataSource, diags)
	}
	return state
}

func (p *protocol) dataType(t *testing.T, dataSource string) tftypes.Type {
	t.Helper()
	schema := p.schema.DataSourceSchemas[dataSource]
	if schema == nil {
		t.Fatalf("no data source %q", dataSource)
	}
	return schema.ValueType()
}

// create validates, plans and applies a new ylem_pipeline_run. The state is what the provider hands back, also
// next to an error; it is nil when there is none.
func (p *protocol) create(t *testing.T, arguments object) (object, diagnostics) {
	t.Helper()
	const name = "ylem_pipeline_run"
	ctx := t.Context()
	typ := p.schema.ResourceSchemas[name].ValueType()
	config := toDynamic(t, typ, arguments)
	validated, err := p.server.ValidateResourceConfig(ctx, &tfprotov6.ValidateResourceConfigRequest{
		TypeName:           name,
		Config:             config,
		ClientCapabilities: &tfprotov6.ValidateResourceConfigClientCapabilities{WriteOnlyAttributesAllowed: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	if diags := diagnostics(validated.Diagnostics); diags.failed() {
		return nil, diags
	}
	proposed := arguments.with(object{"input_wo": nil})
	planned, err := p.server.PlanResourceChange(ctx, &tfprotov6.PlanResourceChangeRequest{
		TypeName:         name,
		PriorState:       toDynamic(t, typ, nil),
		ProposedNewState: toDynamic(t, typ, proposed),
		Config:           config,
	})
	if err != nil {
		t.Fatal(err)
	}
	if diags := diagnostics(planned.Diagnostics); diags.failed() {
		return nil, diags
	}
	applied, err := p.server.ApplyResourceChange(ctx, &tfprotov6.ApplyResourceChangeRequest{
		TypeName:       name,
		PriorState:     toDynamic(t, typ, nil),
		PlannedState:   planned.PlannedState,
		PlannedPrivate: planned.PlannedPrivate,
		Config:         config,
	})
	if err != nil {
		t.Fatal(err)
	}
	return fromDynamic(t, typ, applied.NewState), applied.Diagnostics
}

// diagnostics are what the provider says to the user.
type diagnostics []*tfprotov6.Diagnostic

func (d diagnostics) failed() bool {
	for _, diag := range d {
		if diag.Severity == tfprotov6.DiagnosticSeverityError {
			return true
		}
	}
	return false
}

// String is the diagnostics as a person reads them.
func (d diagnostics) String() string {
	var b strings.Builder
	for _, diag := range d {
		fmt.Fprintf(&b, "\n%s: %s", diag.Severity, diag.Summary)
		if diag.Attribute != nil {
			fmt.Fprintf(&b, "\n  with %s", diag.Attribute)
		}
		fmt.Fprintf(&b, "\n%s\n", diag.Detail)
	}
	return b.String()
}

// expect fails the test unless there is exactly one diagnostic, of that severity and about that attribute
// ("": of the whole), whose text contains every part.
func (d diagnostics) expect(t *testing.T, severity tfprotov6.DiagnosticSeverity, attribute string, parts ...string) {
	t.Helper()
	if len(d) != 1 || d[0].Severity != severity {
		t.Errorf("want one %s, got:%s", severity, d)
		return
	}
	at := ""
	if d[0].Attribute != nil && len(d[0].Attribute.Steps()) > 0 {
		if name, ok := d[0].Attribute.Steps()[0].(tftypes.AttributeName); ok {
			at = string(name)
		}
	}
	if at != attribute {
		t.Errorf("about attribute %q, want %q:%s", at, attribute, d)
	}
	text := d[0].Summary + "\n" + d[0].Detail
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("does not say %q:%s", part, d)
		}
	}
}

func (d diagnostics) expectError(t *testing.T, attribute string, parts ...string) {
	t.Helper()
	d.expect(t, tfprotov6.DiagnosticSeverityError, attribute, parts...)
}

func (d diagnostics) expectWarning(t *testing.T, attribute string, parts ...string) {
	t.Helper()
	d.expect(t, tfprotov6.DiagnosticSeverityWarning, attribute, parts...)
}

// expect fails the test unless the attributes have these values. Integers may be written as such.
func (o object) expect(t *testing.T, want object) {
	t.Helper()
	for name, value := range want {
		if got, want := asJSON(t, o[name]), asJSON(t, value); got != want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, want)
		}
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// list is a list of objects in a state.
func (o object) list(t *testing.T, name string) []object {
	t.Helper()
	elements, ok := o[name].([]any)
	if !ok {
		t.Fatalf("%s is no list: %v", name, o[name])
	}
	list := make([]object, len(elements))
	for i, element := range elements {
		switch element := element.(type) {
		case object:
			list[i] = element
		case map[string]any: // decoded from JSON
			list[i] = element
		}
	}
	return list
}

// column is one attribute of each of some objects.
func column(objects []object, name string) []any {
	values := make([]any, len(objects))
	for i, o := range objects {
		values[i] = o[name]
	}
	return values
}

func toDynamic(t *testing.T, typ tftypes.Type, o object) *tfprotov6.DynamicValue {
	t.Helper()
	var v any
	if o != nil {
		v = o
	}
	dynamic, err := tfprotov6.NewDynamicValue(typ, toValue(t, typ, v))
	if err != nil {
		t.Fatal(err)
	}
	return &dynamic
}

func toValue(t *testing.T, typ tftypes.Type, v any) tftypes.Value {
	t.Helper()
	if v == nil {
		return tftypes.NewValue(typ, nil)
	}
	if v == (unknown{}) {
		return tftypes.NewValue(typ, tftypes.UnknownValue)
	}
	elements := func(element tftypes.Type) []tftypes.Value {
		list := reflect.ValueOf(v)
		values := make([]tftypes.Value, list.Len())
		for i := range values {
			values[i] = toValue(t, element, list.Index(i).Interface())
		}
		return values
	}
	switch typ := typ.(type) {
	case tftypes.Object:
		values := map[string]tftypes.Value{}
		given := v.(object)
		for name := range given {
			if _, ok := typ.AttributeTypes[name]; !ok {
				t.Fatalf("no attribute %q", name)
			}
		}
		for name, attribute := range typ.AttributeTypes {
			values[name] = toValue(t, attribute, given[name])
		}
		return tftypes.NewValue(typ, values)
	case tftypes.Map:
		values := map[string]tftypes.Value{}
		for name, element := range v.(object) {
			values[name] = toValue(t, typ.ElementType, element)
		}
		return tftypes.NewValue(typ, values)
	case tftypes.Set:
		return tftypes.NewValue(typ, elements(typ.ElementType))
	case tftypes.List:
		return tftypes.NewValue(typ, elements(typ.ElementType))
	default:
		return tftypes.NewValue(typ, v)
	}
}

func fromDynamic(t *testing.T, typ tftypes.Type, dynamic *tfprotov6.DynamicValue) object {
	t.Helper()
	if dynamic == nil {
		return nil
	}
	value, err := dynamic.Unmarshal(typ)
	if err != nil {
		t.Fatal(err)
	}
	o, _ := fromValue(t, value).(object)
	return o
}

func fromValue(t *testing.T, value tftypes.Value) any {
	t.Helper()
	if value.IsNull() {
		return nil
	}
	if !value.IsKnown() {
		return unknown{}
	}
	var err error
	defer func() {
		if err != nil {
			t.Fatal(err)
		}
	}()
	switch typ := value.Type(); {
	case typ.Is(tftypes.Object{}), typ.Is(tftypes.Map{}):
		var values map[string]tftypes.Value
		err = value.As(&values)
		o := object{}
		for name, element := range values {
			o[name] = fromValue(t, element)
		}
		return o
	case typ.Is(tftypes.List{}), typ.Is(tftypes.Set{}):
		var values []tftypes.Value
		err = value.As(&values)
		list := make([]any, len(values))
		for i, element := range values {
			list[i] = fromValue(t, element)
		}
		return list
	case typ.Is(tftypes.Number):
		var number big.Float
		err = value.As(&number)
		f, _ := number.Float64()
		return f
	case typ.Is(tftypes.Bool):
		var b bool
		err = value.As(&b)
		return b
	default:
		var s string
		err = value.As(&s)
		return s
	}
}
