package provider

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/request"
)

var _ datasource.DataSourceWithConfigure = (*lastRunDataSource)(nil)

func newPipelineLastRunDataSource() datasource.DataSource {
	return &lastRunDataSource{subject: pipelineSubject, newModel: func() lastRunModel { return &pipelineLastRunModel{} }}
}

func newTaskLastRunDataSource() datasource.DataSource {
	return &lastRunDataSource{subject: taskSubject, newModel: func() lastRunModel { return &taskLastRunModel{} }}
}

type lastRunDataSource struct {
	dataSourceBase
	subject  subject
	newModel func() lastRunModel
}

type lastRunModel interface {
	uuid() string
	attributes() *lastRunAttributes
}

type pipelineLastRunModel struct {
	pipelineModel
	lastRunAttributes
}

type taskLastRunModel struct {
	taskModel
	lastRunAttributes
}

type lastRunAttributes struct {
	IsSuccessful types.Bool   `tfsdk:"is_successful"`
	ExecutedAt   types.String `tfsdk:"executed_at"`
	Duration     types.Int64  `tfsdk:"duration"`
}

func (a *lastRunAttributes) attributes() *lastRunAttributes { return a }

func (d *lastRunDataSource) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = fmt.Sprintf("%s_%s_last_run", req.ProviderTypeName, d.subject.noun)
}

func (d *lastRunDataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: fmt.Sprintf("Reads how the last run of a %[1]s went. Needs the scope `stats:read`.\n\n"+
			"Ylem gives the same answer for a %[1]s that never ran, does not exist or belongs to another organization. In that case every "+
			"value is null and the provider warns instead of failing, so that a first apply succeeds.", d.subject.noun),
		Attributes: map[string]schema.Attribute{
			d.subject.attribute: d.subject.uuidAttribute(),
			"is_successful":     computedBool(fmt.Sprintf(d.subject.success, "the last run") + " Null: nothing ran. Example: `true`."),
			"executed_at":       computedString("When the last run was executed, RFC 3339, UTC. Null: nothing ran. Example: `2024-01-31T14:23:01Z`."),
			"duration":          computedInt(fmt.Sprintf(d.subject.duration, "the last run") + " Null: nothing ran. Example: `1250`."),
		},
	}
}

func (d *lastRunDataSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	m := d.newModel()
	resp.Diagnostics.Append(req.Config.Get(ctx, m)...)
	if resp.Diagnostics.HasError() || !d.api.ready(&resp.Diagnostics) {
		return
	}
	last, err := d.api.client.LastRun(ctx, d.subject.api, m.uuid())
	if e, ok := errors.AsType[*request.Error](err); ok && e.NoData() {
		resp.Diagnostics.AddAttributeWarning(path.Root(d.subject.attribute), "No last run", fmt.Sprintf(
			"Ylem has no last run of %s %s: it never ran, does not exist, or belongs to a different organization than the OAuth client (Ylem does not say which). "+
				"Its values are null.", d.subject.noun, m.uuid()))
	} else if err != nil {
		d.subject.addError(&resp.Diagnostics, m.uuid(), err)
		return
	}
	ran := !last.ExecutedAt.IsZero()
	*m.attributes() = lastRunAttributes{
		IsSuccessful: orNull(ran, types.BoolValue(last.IsSuccessful), types.BoolNull()),
		ExecutedAt:   timeValue(last.ExecutedAt),
		Duration:     orNull(ran, types.Int64Value(last.Duration), types.Int64Null()),
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}
