package provider

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
)

var (
	_ datasource.DataSourceWithConfigure      = (*aggregatedStatsDataSource)(nil)
	_ datasource.DataSourceWithValidateConfig = (*aggregatedStatsDataSource)(nil)
)

func newPipelineAggregatedStatsDataSource() datasource.DataSource {
	return &aggregatedStatsDataSource{subject: pipelineSubject, newModel: func() aggregatedStatsModel { return &pipelineAggregatedStatsModel{} }}
}

func newTaskAggregatedStatsDataSource() datasource.DataSource {
	return &aggregatedStatsDataSource{subject: taskSubject, newModel: func() aggregatedStatsModel { return &taskAggregatedStatsModel{} }}
}

type aggregatedStatsDataSource struct {
	dataSourceBase
	subject  subject
	newModel func() aggregatedStatsModel
}

type aggregatedStatsModel interface {
	uuid() string
	attributes() *aggregatedStatsAttributes
}

type pipelineAggregatedStatsModel struct {
	pipelineModel
	aggregatedStatsAttributes
}

type taskAggregatedStatsModel struct {
	taskModel
	aggregatedStatsAttributes
}

type aggregatedStatsAttributes struct {
	DateFrom        types.String       `tfsdk:"date_from"`
	Period          types.String       `tfsdk:"period"`
	NumberOfPeriods types.Int64        `tfsdk:"number_of_periods"`
	Stats           []periodStatsModel `tfsdk:"stats"`
}

func (a *aggregatedStatsAttributes) attributes() *aggregatedStatsAttributes { return a }

type periodStatsModel struct {
	DateFrom        types.String `tfsdk:"date_from"`
	DateTo          types.String `tfsdk:"date_to"`
	NumOfSuccesses  int64        `tfsdk:"num_of_successes"`
	NumOfFailures   int64        `tfsdk:"num_of_failures"`
	AverageDuration int64        `tfsdk:"average_duration"`
}

func (d *aggregatedStatsDataSource) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = fmt.Sprintf("%s_%s_aggregated_stats", req.ProviderTypeName, d.subject.noun)
}

func (d *aggregatedStatsDataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: fmt.Sprintf("Reads the statistics of a %s's runs for each day, week, month, quarter or year. Needs the scope `stats:read`.\n\n%s "+
			"A %[1]s that does not exist looks the same as one that never ran.", d.subject.noun, d.subject.counting),
		Attributes: map[string]schema.Attribute{
			d.subject.attribute: d.subject.uuidAttribute(),
			"date_from": schema.StringAttribute{
				Required: true,
				MarkdownDescription: "First day to include, such as `2024-01-01`. RFC 3339 with any offset and `2024-01-31 14:23:01` (UTC) are accepted too; " +
					"only the day in UTC counts.",
				Validators: []validator.String{timeValidator{}},
			},
			"period": schema.StringAttribute{
				Required:            true,
				MarkdownDescription: "Length of a period: `day`, `week` (from Monday on), `month`, `quarter` or `year`.",
				Validators:          []validator.String{stringvalidator.OneOf(periodNames()...)},
			},
			"number_of_periods": schema.Int64Attribute{
				Required: true,
				MarkdownDescription: "Number of periods, from `date_from` on, at least 1, such as `12`. They must end by 2106-02-07, the last day " +
					"that Ylem's statistics know.",
				Validators: []validator.Int64{int64validator.AtLeast(1)},
			},
			"stats": schema.ListNestedAttribute{
				Computed: true,
				MarkdownDescription: "The periods in which something ran, sorted by `date_from`; empty when nothing did. They are calendar periods: one " +
					"month from the 15th gives two elements, one for the requested part of each month.",
				NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
					"date_from":        computedString("First second of the calendar period, RFC 3339, UTC. Example: `2024-01-01T00:00:00Z`."),
					"date_to":          computedString("Last second of the calendar period, RFC 3339, UTC. Example: `2024-01-31T23:59:59Z`."),
					"num_of_successes": computedInt(fmt.Sprintf(d.subject.successes, "period")),
					"num_of_failures":  computedInt(fmt.Sprintf(d.subject.failures, "period")),
					"average_duration": computedInt("Mean duration of the runs in the period, in milliseconds. Example: `573`."),
				}},
			},
		},
	}
}

// lastStatsDay is where the 32-bit dates of Ylem's statistics end: it answers "no data" to a window beyond.
var lastStatsDay = time.Date(2106, 2, 7, 0, 0, 0, 0, time.UTC)

func endsTooLate(from time.Time, period ylem.Period, number int64) bool {
	return period.End(from, number).After(lastStatsDay)
}

func (d *aggregatedStatsDataSource) ValidateConfig(ctx context.Context, req datasource.ValidateConfigRequest, resp *datasource.ValidateConfigResponse) {
	m := d.newModel()
	if req.Config.Get(ctx, m).HasError() {
		return // an attribute's own check says why
	}
	a := m.attributes()
	from, err := ylem.ParseTime(a.DateFrom.ValueString())
	number := a.NumberOfPeriods.ValueInt64()
	if err != nil || a.Period.ValueString() == "" || number < 1 {
		return // absent, not known yet, or refused by its own validator
	}
	if endsTooLate(from, ylem.Period(a.Period.ValueString()), number) {
		resp.Diagnostics.AddAttributeError(path.Root("number_of_periods"), "Too many periods", fmt.Sprintf(
			"%d periods (%s) from %s on end after 2106-02-07, the last day that Ylem's statistics know: Ylem would answer that nothing ran. Ask for fewer.",
			number, a.Period.ValueString(), from.Format(time.DateOnly)))
	}
}

func (d *aggregatedStatsDataSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	m := d.newModel()
	resp.Diagnostics.Append(req.Config.Get(ctx, m)...)
	if resp.Diagnostics.HasError() || !d.api.ready(&resp.Diagnostics) {
		return
	}
	a := m.attributes()
	from, err := ylem.ParseTime(a.DateFrom.ValueString())
	if err != nil {
		resp.Diagnostics.AddAttributeError(path.Root("date_from"), "Invalid time", err.Error())
		return
	}
	stats, err := d.api.client.AggregatedStats(ctx, d.subject.api, m.uuid(), from, ylem.Period(a.Period.ValueString()), a.NumberOfPeriods.ValueInt64())
	if err != nil {
		d.subject.addError(&resp.Diagnostics, m.uuid(), err)
		return
	}
	var wrong []string
	a.Stats = make([]periodStatsModel, len(stats))
	for i, s := range stats {
		a.Stats[i] = periodStatsModel{
			DateFrom:        timeValue(s.DateFrom),
			DateTo:          timeValue(s.DateTo),
			NumOfSuccesses:  s.NumOfSuccesses,
			NumOfFailures:   s.NumOfFailures,
			AverageDuration: s.AverageDuration,
		}
		// Ylem lists only periods in which something ran.
		if min(s.NumOfSuccesses, s.NumOfFailures) < 0 || s.NumOfSuccesses+s.NumOfFailures == 0 {
			wrong = append(wrong, s.DateFrom.Format(time.DateOnly))
		}
	}
	if d.subject.api == ylem.Pipelines && len(wrong) > 0 {
		resp.Diagnostics.AddAttributeWarning(path.Root(d.subject.attribute), "Ylem's statistics are wrong", fmt.Sprintf(
			"Pipeline %s ran in each of the periods from these days on, and yet Ylem counts no success and no failure, or less than none: %s.\n\n%s",
			m.uuid(), strings.Join(wrong, ", "), wrongCounts))
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

func periodNames() []string {
	names := make([]string, len(ylem.Periods))
	for i, p := range ylem.Periods {
		names[i] = string(p)
	}
	return names
}
