package provider

import (
	"context"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/follow"
)

var (
	_ datasource.DataSourceWithConfigure      = (*pipelineTasksDataSource)(nil)
	_ datasource.DataSourceWithValidateConfig = (*pipelineTasksDataSource)(nil)
)

func newPipelineTasksDataSource() datasource.DataSource { return &pipelineTasksDataSource{} }

type pipelineTasksDataSource struct{ dataSourceBase }

type pipelineTasksModel struct {
	pipelineModel
	windowModel
	MaxRuns              types.Int64         `tfsdk:"max_runs"`
	Tasks                []pipelineTaskModel `tfsdk:"tasks"`
	RunCount             types.Int64         `tfsdk:"run_count"`
	IsUniform            types.Bool          `tfsdk:"is_uniform"`
	FinalTaskUUIDs       types.Set           `tfsdk:"final_task_uuids"`
	LongestSilence       types.Int64         `tfsdk:"longest_silence"`
	SuggestedQuietPeriod types.String        `tfsdk:"suggested_quiet_period"`
}

type pipelineTaskModel struct {
	TaskUUID        string `tfsdk:"task_uuid"`
	TaskType        string `tfsdk:"task_type"`
	Runs            int64  `tfsdk:"runs"`
	RowsPerRun      int64  `tfsdk:"rows_per_run"`
	AverageDuration int64  `tfsdk:"average_duration"`
	P95Duration     int64  `tfsdk:"p95_duration"`
	MaxDuration     int64  `tfsdk:"max_duration"`
}

func (d *pipelineTasksDataSource) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_pipeline_tasks"
}

const (
	defaultTasksLookback = 30 * 24 * time.Hour
	defaultMaxRuns       = 20
	maxMaxRuns           = 1000 // each is held until all are counted
)

func (d *pipelineTasksDataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	attributes := windowAttributes()
	attributes["pipeline_uuid"] = pipelineSubject.uuidAttribute()
	attributes["from"] = schema.StringAttribute{
		Optional:            true,
		Computed:            true,
		MarkdownDescription: fromDescription + "Conflicts with `lookback`. Defaults to `to` minus `lookback`.",
		Validators:          []validator.String{timeValidator{}},
	}
	attributes["lookback"] = schema.StringAttribute{
		Optional:            true,
		CustomType:          durationType{},
		MarkdownDescription: lookbackDescription + "If neither is set, the window is `720h` (30 days) long.",
	}
	attributes["max_runs"] = schema.Int64Attribute{
		Optional: true,
		MarkdownDescription: "Maximum number of runs to count, from `1` to `1000`: the newest ones in the window that did not fail. The provider reads no further than it must to " +
			"know them. Defaults to `20`.",
		Validators: []validator.Int64{int64validator.Between(1, maxMaxRuns)},
	}
	attributes["tasks"] = schema.ListNestedAttribute{
		Computed:            true,
		MarkdownDescription: "The tasks that reported in these runs, sorted by UUID; empty if no run was counted.",
		NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
			"task_uuid":        computedString("UUID of the task, in lower case."),
			"task_type":        computedString("Type of the task in the newest run, such as `query`; empty if Ylem does not report it."),
			"runs":             computedInt("Number of runs in which the task reported. Example: `20`."),
			"rows_per_run":     computedInt("How often the task reported in one run, at most: more than once after a for-each. Example: `1`."),
			"average_duration": computedInt("Mean duration of the task, in milliseconds. Example: `573`."),
			"p95_duration":     computedInt("Duration that the task did not exceed in 95 of 100 cases, in milliseconds. Example: `1200`."),
			"max_duration":     computedInt("Longest duration of the task, in milliseconds. Example: `1900`."),
		}},
	}
	attributes["run_count"] = computedInt("Number of runs that were counted, at most `max_runs`. Example: `20`.")
	attributes["is_uniform"] = computedBool("Whether every run had the same tasks, each exactly once and with a known outcome. A for-each makes it `false`, even if it had one item " +
		"each time. So does a task that only the newest run has, and a run that cannot be read, which also causes a warning. `false` if no run was counted.")
	attributes["final_task_uuids"] = schema.SetAttribute{
		Computed: true, ElementType: types.StringType,
		MarkdownDescription: "UUIDs of all tasks if `is_uniform`, else null. Use it as the `final_task_uuids` of a run's `completion`: once all tasks have reported, the run has " +
			"ended. Null there leaves the end to `quiet_period`.",
	}
	attributes["longest_silence"] = computedInt("Longest time between two rows of one run, in milliseconds; null if no run was counted. Example: `42000`.")
	attributes["suggested_quiet_period"] = computedString("Duration for a run's `quiet_period`: twice `longest_silence`, rounded up to half a minute, and at least `30s`; null if no run " +
		"was counted. Other pipelines of the server can delay a task for longer. Example: `1m30s`.")
	resp.Schema = schema.Schema{
		MarkdownDescription: "Reads which tasks a pipeline has, and how long they take. Ylem's API does not show a pipeline's tasks, so they are taken from its log: from the newest runs " +
			"that did not fail. Needs the scope `stats:read`.\n\n" +
			"A run whose last task reported less than half an hour ago may still be under way. It is counted only if it has all tasks of the older runs, or a task that none of them has; " +
			"without older runs, it is not counted.\n\n" +
			"The log shows only what has run: a branch that no run took is missing. After a change of the pipeline, set `from` to the time of the change; until then, older " +
			"runs make it not uniform.",
		Attributes: attributes,
	}
}

func (d *pipelineTasksDataSource) ValidateConfig(ctx context.Context, req datasource.ValidateConfigRequest, resp *datasource.ValidateConfigResponse) {
	if m, ok := windowOf(ctx, req.Config); ok {
		m.check(atMostOne, &resp.Diagnostics)
	}
}

func (d *pipelineTasksDataSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var m pipelineTasksModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() || !d.api.ready(&resp.Diagnostics) {
		return
	}
	w := m.read(ctx, d.api.client, defaultTasksLookback, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	maxRuns := defaultMaxRuns
	if !m.MaxRuns.IsNull() {
		maxRuns = int(m.MaxRuns.ValueInt64())
	}
	tasks, unreadable, err := d.api.follower.Tasks(ctx, m.uuid(), w.from, w.to, maxRuns)
	if err != nil {
		pipelineSubject.addError(&resp.Diagnostics, m.uuid(), err)
		return
	}
	if len(unreadable) > 0 {
		warnOfUnreadable(m.uuid(), unreadable, "The runs that they belong to are not counted, and is_uniform is false", &resp.Diagnostics)
	}
	m.set(tasks)
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}

// set fills in what the log shows.
func (m *pipelineTasksModel) set(tasks follow.Tasks) {
	m.Tasks = []pipelineTaskModel{}
	var uuids []attr.Value
	for _, t := range tasks.Tasks {
		uuids = append(uuids, types.StringValue(t.UUID))
		m.Tasks = append(m.Tasks, pipelineTaskModel{
			TaskUUID: t.UUID, TaskType: t.Type, Runs: int64(t.Runs), RowsPerRun: int64(t.RowsPerRun),
			AverageDuration: t.AverageDuration, P95Duration: t.P95Duration, MaxDuration: t.MaxDuration,
		})
	}
	ran := tasks.Runs > 0
	m.RunCount = types.Int64Value(int64(tasks.Runs))
	m.IsUniform = types.BoolValue(tasks.Uniform)
	m.FinalTaskUUIDs = types.SetNull(types.StringType)
	if tasks.Uniform {
		m.FinalTaskUUIDs = types.SetValueMust(types.StringType, uuids)
	}
	m.LongestSilence = orNull(ran, types.Int64Value(tasks.LongestSilence.Milliseconds()), types.Int64Null())
	m.SuggestedQuietPeriod = orNull(ran, types.StringValue(tasks.QuietPeriod(defaultQuietPeriod).String()), types.StringNull())
}
