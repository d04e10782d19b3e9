package provider

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-validators/listvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/list"
	"github.com/hashicorp/terraform-plugin-framework/list/schema"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/follow"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/request"
)

var (
	_ list.ListResourceWithConfigure      = (*pipelineRunList)(nil)
	_ list.ListResourceWithValidateConfig = (*pipelineRunList)(nil)
)

func newPipelineRunList() list.ListResource { return &pipelineRunList{} }

// pipelineRunList lists runs for terraform query.
type pipelineRunList struct{ api api }

type pipelineRunListModel struct {
	pipelineModel
	windowModel
	Status         types.String  `tfsdk:"status"`
	IdempotencyKey types.String  `tfsdk:"idempotency_key"`
	Completion     *listEndModel `tfsdk:"completion"`
}

// listEndModel is endModel for a list, whose schema knows no sets and whose values are all known.
type listEndModel struct {
	FinalTaskUUIDs []string `tfsdk:"final_task_uuids"`
	QuietPeriod    duration `tfsdk:"quiet_period"`
}

// completion is how ends are recognized. Without the attribute, only a day of silence is one.
func (m *listEndModel) completion(diags *diag.Diagnostics) follow.Completion {
	if m == nil {
		return follow.Completion{QuietPeriod: follow.Day}
	}
	return follow.Completion{FinalTaskUUIDs: m.FinalTaskUUIDs, QuietPeriod: m.QuietPeriod.or(defaultQuietPeriod, quietPeriodPath, diags)}
}

// defaultLookback is the length of a window whose beginning is not set.
const defaultLookback = 24 * time.Hour

func (l *pipelineRunList) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_pipeline_run"
}

func (l *pipelineRunList) Configure(_ context.Context, req resource.ConfigureRequest, resp *resource.ConfigureResponse) {
	l.api = apiFrom(req.ProviderData, &resp.Diagnostics)
}

func (l *pipelineRunList) ListResourceConfigSchema(_ context.Context, _ list.ListResourceSchemaRequest, resp *list.ListResourceSchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "Lists the runs of a pipeline for `terraform query` (Terraform 1.14 or later), newest first, whoever started them: to see what ran, or to import a run that Terraform has " +
			"lost. Needs the scope `stats:read`.\n\n" +
			"A run is listed if at least one of its tasks was executed in the window; one whose first task has not finished yet is not in Ylem's log. Each is shown with when it " +
			"began (UTC), its status, the number of its tasks, and its idempotency key if it has one. With `include_resource = true`, it comes with the attributes that Ylem's log shows. " +
			"Reading stops at `limit`, by default 100 runs.\n\n" +
			"`terraform query -generate-config-out=found.tf` writes a resource and an `import` block for each run; the next apply imports them and starts nothing. `input`, `triggers` and " +
			"`idempotency_key` are null in it: after an import, their first values are adopted without starting a run.",
		Attributes: map[string]schema.Attribute{
			"pipeline_uuid": schema.StringAttribute{
				Required:            true,
				MarkdownDescription: pipelineSubject.uuidAttribute().MarkdownDescription,
				Validators:          []validator.String{uuidValidator{}},
			},
			"from": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: fromDescription + "Conflicts with `lookback`. Defaults to `to` minus `lookback`.",
				Validators:          []validator.String{timeValidator{}},
			},
			"to": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: toDescription,
				Validators:          []validator.String{timeValidator{}},
			},
			"lookback": schema.StringAttribute{
				Optional:            true,
				CustomType:          durationType{},
				MarkdownDescription: lookbackDescription + "If neither is set, the window is `24h` long.",
			},
			"status": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "Only runs with this status: `running`, `succeeded` or `failed`. " + presumption,
				Validators:          []validator.String{stringvalidator.OneOf(string(follow.Running), string(follow.Succeeded), string(follow.Failed))},
			},
			"idempotency_key": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "Only runs that were started with this `idempotency_key`, such as `release-1.4.2`, whatever their triggers and input.",
				Validators:          []validator.String{keyValidator{}},
			},
			"completion": schema.SingleNestedAttribute{
				Optional:            true,
				MarkdownDescription: completionDescription + " " + presumption,
				Attributes: map[string]schema.Attribute{
					"final_task_uuids": schema.ListAttribute{
						Optional: true, ElementType: types.StringType, MarkdownDescription: finalTasksDescription,
						Validators: []validator.List{
							listvalidator.SizeAtLeast(1), listvalidator.NoNullValues(), listvalidator.ValueStringsAre(uuidValidator{}),
						},
					},
					"quiet_period": schema.StringAttribute{
						Optional: true, CustomType: durationType{}, MarkdownDescription: quietPeriodGuess + " Defaults to `30s`.",
					},
				},
			},
		},
	}
}

func (l *pipelineRunList) ValidateListResourceConfig(ctx context.Context, req list.ValidateConfigRequest, resp *list.ValidateConfigResponse) {
	if m, ok := windowOf(ctx, req.Config); ok {
		m.check(atMostOne, &resp.Diagnostics)
	}
}

func (l *pipelineRunList) List(ctx context.Context, req list.ListRequest, stream *list.ListResultsStream) {
	var diags diag.Diagnostics
	var m pipelineRunListModel
	diags.Append(req.Config.Get(ctx, &m)...)
	completion := m.Completion.completion(&diags)
	if diags.HasError() || !l.api.ready(&diags) {
		stream.Results = list.ListResultsStreamDiagnostics(diags)
		return
	}
	w := m.read(ctx, l.api.client, defaultLookback, &diags)
	if diags.HasError() {
		stream.Results = list.ListResultsStreamDiagnostics(diags)
		return
	}
	stream.Results = func(push func(list.ListResult) bool) {
		var n int64
		var unreadable []string
		for run, err := range l.api.follower.List(ctx, m.uuid(), w.from, w.to) {
			if row, ok := errors.AsType[*ylem.RowError](err); ok {
				unreadable = append(unreadable, row.RunUUID)
				continue
			}
			if err != nil {
				var diags diag.Diagnostics
				pipelineSubject.addError(&diags, m.uuid(), err)
				push(list.ListResult{Diagnostics: diags})
				return
			}
			progress := run.ProgressBy(completion)
			if !m.wants(run, progress) {
				continue
			}
			if !push(listResult(ctx, req, run, progress)) {
				return
			}
			if n++; n == req.Limit {
				return
			}
		}
		if len(unreadable) > 0 {
			var diags diag.Diagnostics
			warnOfUnreadable(m.uuid(), unreadable, "The runs that they belong to are not listed", &diags)
			push(list.ListResult{Diagnostics: diags})
		}
	}
}

// wants reports whether a run passes the filters.
func (m *pipelineRunListModel) wants(run follow.Started, progress follow.Progress) bool {
	return (m.Status.IsNull() || m.Status.ValueString() == string(progress.Status)) &&
		(m.IdempotencyKey.IsNull() || m.IdempotencyKey.ValueString() == keyOf(run))
}

// keyOf is the idempotency key of a run, as it was configured.
func keyOf(run follow.Started) string {
	if i := strings.LastIndex(run.Key, "/"); i >= 0 {
		return run.Key[:i]
	}
	return run.Key
}

// listResult is a run as Terraform lists it.
func listResult(ctx context.Context, req list.ListRequest, run follow.Started, progress follow.Progress) list.ListResult {
	result := req.NewListResult(ctx)
	result.DisplayName = displayName(run, progress)
	// As an import has it, so that the generated configuration changes nothing.
	pipelineUUID, runUUID := strings.ToLower(run.Run.PipelineUUID), run.Run.RunUUID
	result.Diagnostics.Append(result.Identity.Set(ctx, newIdentity(pipelineUUID, runUUID))...)
	if !req.IncludeResource {
		return result
	}
	for attribute, value := range importAttributes(pipelineUUID, runUUID) {
		result.Diagnostics.Append(result.Resource.SetAttribute(ctx, path.Root(attribute), value)...)
	}
	var m pipelineRunModel
	result.Diagnostics.Append(result.Resource.Get(ctx, &m)...)
	result.Diagnostics.Append(m.setFound(ctx, run.Run, progress)...)
	result.Diagnostics.Append(result.Resource.Set(ctx, &m)...)
	return result
}

// displayName is how a person recognizes a run.
func displayName(run follow.Started, progress follow.Progress) string {
	began, tasks := "(no time)", "1 task"
	if at := run.Run.TriggeredAt; !at.IsZero() {
		began = at.UTC().Format(time.DateTime)
	}
	if n := len(progress.Rows); n > 1 {
		tasks = fmt.Sprintf("%d tasks", n)
	}
	name := fmt.Sprintf("%s %s, %s", began, progress.Status, tasks)
	if key := request.Shorten(keyOf(run)); key != "" {
		name += ", key " + key
	}
	return name
}

// warnOfUnreadable says which runs cannot be read, and what follows from it.
func warnOfUnreadable(pipelineUUID string, uuids []string, consequence string, diags *diag.Diagnostics) {
	slices.Sort(uuids)
	names := request.Shorten(strings.Join(uuids[:min(len(uuids), maxCandidates)], ", "))
	if more := len(uuids) - maxCandidates; more > 0 {
		names += fmt.Sprintf(" and %d more", more)
	}
	diags.AddWarning("Some runs cannot be read", fmt.Sprintf(
		"The log of pipeline %s has rows that cannot be read. %s: %s.", pipelineUUID, consequence, names))
}
