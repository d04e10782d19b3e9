package provider

import (
	"time"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// computedInt, computedString and computedBool are attributes of a data source that are read.
func computedInt(description string) schema.Int64Attribute {
	return schema.Int64Attribute{Computed: true, MarkdownDescription: description}
}

func computedString(description string) schema.StringAttribute {
	return schema.StringAttribute{Computed: true, MarkdownDescription: description}
}

func computedBool(description string) schema.BoolAttribute {
	return schema.BoolAttribute{Computed: true, MarkdownDescription: description}
}

func formatTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// timeValue is a time as the provider shows it: RFC 3339, UTC. Never is null.
func timeValue(t time.Time) types.String {
	if t.IsZero() {
		return types.StringNull()
	}
	return types.StringValue(formatTime(t))
}

// orNull returns value, or null where it means nothing.
func orNull[T attr.Value](meaningful bool, value, null T) T {
	if meaningful {
		return value
	}
	return null
}
