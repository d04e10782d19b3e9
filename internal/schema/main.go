// Command schema prints the provider's schemas in the form of "terraform providers schema -json", for the generator
// of the documentation. Terraform before 1.14 leaves actions out, and their pages would go missing unnoticed.
package main

import (
	"context"
	"encoding/json"
	"log"
	"os"
	"strings"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"

	"github.com/ylem-co/terraform-provider-ylem/internal/provider"
)

// object is a JSON object whose keys come out sorted.
type object = map[string]any

func main() {
	ctx, server := context.Background(), provider.NewServer("dev")()
	schemas, err := server.GetProviderSchema(ctx, &tfprotov6.GetProviderSchemaRequest{})
	if err != nil {
		log.Fatal(err)
	}
	identities, err := server.GetResourceIdentitySchemas(ctx, &tfprotov6.GetResourceIdentitySchemasRequest{})
	if err != nil {
		log.Fatal(err)
	}

	resources, dataSources, actions, lists, functions, resourceIdentities := object{}, object{}, object{}, object{}, object{}, object{}
	for name, s := range schemas.ResourceSchemas {
		resources[name] = schema(s)
	}
	for name, s := range schemas.DataSourceSchemas {
		dataSources[name] = schema(s)
	}
	for name, s := range schemas.ActionSchemas {
		actions[name] = schema(s.Schema)
	}
	for name, s := range schemas.ListResourceSchemas {
		lists[name] = schema(s)
	}
	for name, f := range schemas.Functions {
		parameters := []object{}
		for _, p := range f.Parameters {
			parameters = append(parameters, object{"name": p.Name, "description": p.Description, "type": p.Type, "is_nullable": p.AllowNullValue})
		}
		functions[name] = object{"summary": f.Summary, "description": f.Description, "return_type": f.Return.Type, "parameters": parameters}
	}
	for name, s := range identities.IdentitySchemas {
		attributes := object{}
		for _, a := range s.IdentityAttributes {
			attributes[a.Name] = object{
				"type": a.Type, "description": a.Description,
				"required_for_import": a.RequiredForImport, "optional_for_import": a.OptionalForImport,
			}
		}
		resourceIdentities[name] = object{"version": s.Version, "attributes": attributes}
	}
	err = json.NewEncoder(os.Stdout).Encode(object{
		"format_version": "1.0",
		"provider_schemas": object{"ylem": object{
			"provider":                  schema(schemas.Provider),
			"resource_schemas":          resources,
			"data_source_schemas":       dataSources,
			"action_schemas":            actions,
			"list_resource_schemas":     lists,
			"functions":                 functions,
			"resource_identity_schemas": resourceIdentities,
		}},
	})
	if err != nil {
		log.Fatal(err)
	}
}

func schema(s *tfprotov6.Schema) object {
	return object{"version": s.Version, "block": block(s.Block)}
}

func block(b *tfprotov6.SchemaBlock) object {
	blocks := object{}
	for _, nested := range b.BlockTypes {
		blocks[nested.TypeName] = object{"nesting_mode": strings.ToLower(nested.Nesting.String()), "block": block(nested.Block)}
	}
	return object{
		"attributes": attributes(b.Attributes), "block_types": blocks,
		"description": b.Description, "description_kind": kind(b.DescriptionKind),
	}
}

func attributes(list []*tfprotov6.SchemaAttribute) object {
	o := object{}
	for _, a := range list {
		attribute := object{
			"description": a.Description, "description_kind": kind(a.DescriptionKind),
			"required": a.Required, "optional": a.Optional, "computed": a.Computed,
			"sensitive": a.Sensitive, "write_only": a.WriteOnly, "deprecated": a.Deprecated,
		}
		if a.NestedType != nil {
			attribute["nested_type"] = object{
				"attributes": attributes(a.NestedType.Attributes), "nesting_mode": strings.ToLower(a.NestedType.Nesting.String()),
			}
		} else {
			attribute["type"] = a.Type
		}
		o[a.Name] = attribute
	}
	return o
}

func kind(k tfprotov6.StringKind) string {
	if k == tfprotov6.StringKindMarkdown {
		return "markdown"
	}
	return "plain"
}
