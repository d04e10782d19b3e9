package provider

import (
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/list"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
)

func TestSchemasAreImplementedCorrectly(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	p := &ylemProvider{version: "test"}
	check := func(name string, diags, implementation diag.Diagnostics) {
		for _, d := range append(diags, implementation...) {
			t.Errorf("%s: %s: %s", name, d.Summary(), d.Detail())
		}
	}
	var schema provider.SchemaResponse
	p.Schema(ctx, provider.SchemaRequest{}, &schema)
	check("provider", schema.Diagnostics, schema.Schema.ValidateImplementation(ctx))
	for _, build := range p.Resources(ctx) {
		r := build()
		var metadata resource.MetadataResponse
		r.Metadata(ctx, resource.MetadataRequest{ProviderTypeName: "ylem"}, &metadata)
		var schema resource.SchemaResponse
		r.Schema(ctx, resource.SchemaRequest{}, &schema)
		check(metadata.TypeName, schema.Diagnostics, schema.Schema.ValidateImplementation(ctx))
	}
	for _, build := range p.DataSources(ctx) {
		d := build()
		var metadata datasource.MetadataResponse
		d.Metadata(ctx, datasource.MetadataRequest{ProviderTypeName: "ylem"}, &metadata)
		var schema datasource.SchemaResponse
		d.Schema(ctx, datasource.SchemaRequest{}, &schema)
		check(metadata.TypeName, schema.Diagnostics, schema.Schema.ValidateImplementation(ctx))
	}
}

func TestListsAreImplementedCorrectly(t *testing.T) {
	t.Parallel()
	for _, build := range (&ylemProvider{}).ListResources(t.Context()) {
		var schema list.ListResourceSchemaResponse
		build().ListResourceConfigSchema(t.Context(), list.ListResourceSchemaRequest{}, &schema)
		for _, d := range append(schema.Diagnostics, schema.Schema.ValidateImplementation(t.Context())...) {
			t.Errorf("%s: %s", d.Summary(), d.Detail())
		}
	}
}

func TestTheProviderHasTheseTypes(t *testing.T) {
	t.Parallel()
	schema := newProtocol(t).schema
	for name := range dataSources {
		if schema.DataSourceSchemas[name] == nil {
			t.Errorf("no data source %s", name)
		}
	}
	for name := range schema.DataSourceSchemas {
		if _, ok := dataSources[name]; !ok {
			t.Errorf("data source %s is not in the tests", name)
		}
	}
	if len(schema.ResourceSchemas) != 1 || schema.ResourceSchemas["ylem_pipeline_run"] == nil {
		t.Errorf("resources: %v", schema.ResourceSchemas)
	}
	if len(schema.ListResourceSchemas) != 1 || schema.ListResourceSchemas["ylem_pipeline_run"] == nil {
		t.Errorf("list resources: %v", schema.ListResourceSchemas)
	}
	if len(schema.Functions) != 1 || schema.Functions["periods"] == nil {
		t.Errorf("functions: %v", schema.Functions)
	}
}

// The generated documentation is these texts: they follow one form.
func TestDescriptions(t *testing.T) {
	t.Parallel()
	schema := newProtocol(t).schema
	schemas := map[string]*tfprotov6.Schema{"provider": schema.Provider}
	for name, s := range schema.ResourceSchemas {
		schemas[name] = s
	}
	for name, s := range schema.DataSourceSchemas {
		schemas["data "+name] = s
	}
	for name, s := range schema.ActionSchemas {
		schemas["action "+name] = s.Schema
	}
	for name, s := range schema.ListResourceSchemas {
		schemas["list "+name] = s
	}
	for name, s := range schemas {
		t.Run(name, func(t *testing.T) {
			checkDescription(t, name, s.Block.Description, s.Block.DescriptionKind)
			checkBlock(t, name, s.Block)
		})
	}
	for name, f := range schema.Functions {
		t.Run("function "+name, func(t *testing.T) {
			checkDescription(t, name+", summary", f.Summary, tfprotov6.StringKindMarkdown) // which has no kind
			checkDescription(t, name, f.Description, f.DescriptionKind)
			for _, p := range f.Parameters {
				checkDescription(t, name+"."+p.Name, p.Description, p.DescriptionKind)
			}
		})
	}
	optional := map[string]bool{}
	for _, s := range schemas {
		collectOptional(s.Block.Attributes, optional)
	}
	for name := range withoutDefault {
		if !optional[name] {
			t.Errorf("no optional attribute is named %s", name)
		}
	}
}

// withoutDefault are the optional attributes that have no value where none is set.
var withoutDefault = map[string]bool{
	"ca_cert_pem": true, "client_cert_pem": true, "client_key_pem": true, "headers": true,
	"lookback": true, "status": true, "pipeline_run_uuid": true, "task_uuid": true, "is_successful": true, "limit": true,
	"input": true, "idempotency_key": true, "input_wo": true, "input_wo_version": true, "triggers": true, "completion": true, "final_task_uuids": true, "output_task_uuids": true,
}

func collectOptional(attributes []*tfprotov6.SchemaAttribute, names map[string]bool) {
	for _, a := range attributes {
		names[a.Name] = names[a.Name] || a.Optional
		if a.NestedType != nil {
			collectOptional(a.NestedType.Attributes, names)
		}
	}
}

func checkBlock(t *testing.T, name string, block *tfprotov6.SchemaBlock) {
	t.Helper()
	checkAttributes(t, name, block.Attributes)
	for _, nested := range block.BlockTypes {
		at := name + "." + nested.TypeName
		if nested.TypeName == "timeouts" { // the framework's own, which takes plain texts for its attributes and none for itself
			for _, a := range nested.Block.Attributes {
				checkDescription(t, at+"."+a.Name, a.Description, tfprotov6.StringKindMarkdown)
				checkDefault(t, at+"."+a.Name, a)
			}
			continue
		}
		checkDescription(t, at, nested.Block.Description, nested.Block.DescriptionKind)
		checkBlock(t, at, nested.Block)
	}
}

func checkAttributes(t *testing.T, name string, attributes []*tfprotov6.SchemaAttribute) {
	t.Helper()
	for _, a := range attributes {
		at := name + "." + a.Name
		checkDescription(t, at, a.Description, a.DescriptionKind)
		checkDefault(t, at, a)
		if a.Computed && strings.Contains(a.Name, "duration") && !strings.Contains(a.Description, "milliseconds") {
			t.Errorf("%s: does not name its unit, milliseconds: %q", at, a.Description)
		}
		if a.Computed && strings.HasSuffix(a.Name, "_at") && !strings.Contains(a.Description, "RFC 3339, UTC") {
			t.Errorf("%s: does not name its form, RFC 3339, UTC: %q", at, a.Description)
		}
		if a.NestedType != nil {
			checkAttributes(t, at, a.NestedType.Attributes)
		}
	}
}

func checkDefault(t *testing.T, at string, a *tfprotov6.SchemaAttribute) {
	t.Helper()
	states, has := strings.Contains(a.Description, "Defaults to "), a.Optional && !withoutDefault[a.Name]
	if states != has {
		t.Errorf("%s: states a default: %t, has one: %t: %q", at, states, has, a.Description)
	}
}

// unidiomatic are words that a reader stumbles over, most of them once used here. The two articles are a format's and its argument's.
var unidiomatic = regexp.MustCompile(`(?i)\bunset:|\b(not together with|upper and lower case mean|how many|tells?|told|takes? over|(is|are) waited for|` +
	`what is none|so many|in vain|nobody|may not|(the|an?) (the|an?|that|this))\b`)

var spaces = regexp.MustCompile(`  |^\s|\s$|[^\n]\n[^\n]|\n{3}| [.,;:]( |$)`)

func checkDescription(t *testing.T, at, text string, kind tfprotov6.StringKind) {
	t.Helper()
	switch {
	case text == "":
		t.Errorf("%s: no description", at)
	case kind != tfprotov6.StringKindMarkdown:
		t.Errorf("%s: not Markdown: %q", at, text)
	case !strings.HasSuffix(text, "."):
		t.Errorf("%s: does not end in a period: %q", at, text)
	case spaces.MatchString(text):
		t.Errorf("%s: a space or an empty line too many: %q", at, text)
	case unidiomatic.MatchString(text):
		t.Errorf("%s: write it in other words than %q: %q", at, unidiomatic.FindString(text), text)
	case strings.Count(text, "`")%2 != 0:
		t.Errorf("%s: a code span does not end: %q", at, text)
	}
}
