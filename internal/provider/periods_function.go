package provider

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/function"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
)

var _ function.Function = (*periodsFunction)(nil)

func newPeriodsFunction() function.Function { return &periodsFunction{} }

// periodsFunction needs no client: Terraform calls functions of providers that are not configured.
type periodsFunction struct{}

type periodModel struct {
	DateFrom string `tfsdk:"date_from"`
	DateTo   string `tfsdk:"date_to"`
}

var periodType = types.ObjectType{AttrTypes: map[string]attr.Type{"date_from": types.StringType, "date_to": types.StringType}}

// maxPeriods is more than the days that Ylem's statistics know, and few enough for Terraform to handle.
const maxPeriods = 50_000

// The positions of the arguments, for errors.
const (
	dateFromArgument = iota
	periodArgument
	numberArgument
)

func (f *periodsFunction) Metadata(_ context.Context, _ function.MetadataRequest, resp *function.MetadataResponse) {
	resp.Name = "periods"
}

func (f *periodsFunction) Definition(_ context.Context, _ function.DefinitionRequest, resp *function.DefinitionResponse) {
	resp.Definition = function.Definition{
		Summary: "Lists the calendar periods from a day on.",
		MarkdownDescription: "Lists days, weeks, months, quarters or years from a day on, as objects with `date_from` and `date_to`: the first " +
			"and the last second of each, RFC 3339, UTC, such as `2024-01-01T00:00:00Z` and `2024-01-31T23:59:59Z`.\n\n" +
			"They are the calendar periods that `ylem_pipeline_aggregated_stats` and `ylem_task_aggregated_stats` have for the same arguments, " +
			"including those in which nothing ran, which the statistics leave out. As there, if `date_from` is within a period, the first is the " +
			"whole period that it is in, and there is one period more than `number`: one month from 15 January on is January and February.\n\n" +
			"Nothing is sent to Ylem, and no credentials are needed. Requires Terraform 1.8 or later.",
		Parameters: []function.Parameter{
			function.StringParameter{
				Name: "date_from",
				MarkdownDescription: "First day to include, such as `2024-01-01`. RFC 3339 with any offset and `2024-01-31 14:23:01` (UTC) are accepted " +
					"too; only the day in UTC counts.",
			},
			function.StringParameter{
				Name:                "period",
				MarkdownDescription: "Length of a period: `day`, `week` (from Monday on), `month`, `quarter` or `year`.",
			},
			function.Int64Parameter{
				Name: "number",
				MarkdownDescription: "Number of periods, from `date_from` on, from 1 to 50,000, such as `12`. They must end by 2106-02-07, the last day " +
					"that Ylem's statistics know.",
			},
		},
		Return: function.ListReturn{ElementType: periodType},
	}
}

func (f *periodsFunction) Run(ctx context.Context, req function.RunRequest, resp *function.RunResponse) {
	var dateFrom, name string
	var number int64
	if resp.Error = req.Arguments.Get(ctx, &dateFrom, &name, &number); resp.Error != nil {
		return
	}
	from, err := ylem.ParseTime(dateFrom)
	if err != nil {
		resp.Error = function.NewArgumentFuncError(dateFromArgument, fmt.Sprintf("%q is not a time. Accepted: %s.", dateFrom, timeForm))
		return
	}
	if !slices.Contains(periodNames(), name) {
		resp.Error = function.NewArgumentFuncError(periodArgument, fmt.Sprintf("%q is not a period. Accepted: \"%s\".",
			name, strings.Join(periodNames(), `", "`)))
		return
	}
	period := ylem.Period(name)
	switch {
	case number < 1 || number > maxPeriods:
		resp.Error = function.NewArgumentFuncError(numberArgument, fmt.Sprintf("%d periods. Accepted: a whole number from 1 to 50,000.", number))
		return
	case endsTooLate(from, period, number):
		resp.Error = function.NewArgumentFuncError(numberArgument, fmt.Sprintf(
			"%d periods (%s) from %s on end after 2106-02-07, the last day that Ylem's statistics know. Accepted: a number of periods that end by then.",
			number, name, formatTime(from)))
		return
	}
	calendar := period.Calendar(from, number)
	if calendar[0].From.Year() < 0 { // which RFC 3339 cannot express
		resp.Error = function.NewArgumentFuncError(dateFromArgument, fmt.Sprintf(
			"The %s of %s begins before the year 0. Accepted: a later day.", name, dateFrom))
		return
	}
	periods := make([]periodModel, len(calendar))
	for i, p := range calendar {
		periods[i] = periodModel{DateFrom: formatTime(p.From), DateTo: formatTime(p.To)}
	}
	resp.Error = resp.Result.Set(ctx, periods)
}
