package provider

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/function"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// callPeriods calls the function of a provider that is not configured, as Terraform does.
func callPeriods(t *testing.T, dateFrom, period string, number int64) ([]periodModel, *tfprotov6.FunctionError) {
	t.Helper()
	argument := func(kind tftypes.Type, value any) *tfprotov6.DynamicValue {
		v, err := tfprotov6.NewDynamicValue(kind, tftypes.NewValue(kind, value))
		if err != nil {
			t.Fatal(err)
		}
		return &v
	}
	resp, err := newProtocol(t).server.CallFunction(t.Context(), &tfprotov6.CallFunctionRequest{Name: "periods", Arguments: []*tfprotov6.DynamicValue{
		argument(tftypes.String, dateFrom), argument(tftypes.String, period), argument(tftypes.Number, number),
	}})
	if err != nil {
		t.Fatal(err)
	}
	if resp.Error != nil {
		return nil, resp.Error
	}
	result, err := resp.Result.Unmarshal(periodsType)
	if err != nil {
		t.Fatal(err)
	}
	var elements []tftypes.Value
	if err := result.As(&elements); err != nil {
		t.Fatal(err)
	}
	periods := make([]periodModel, len(elements))
	for i, e := range elements {
		var fields map[string]tftypes.Value
		if err := e.As(&fields); err != nil {
			t.Fatal(err)
		}
		if err := fields["date_from"].As(&periods[i].DateFrom); err != nil {
			t.Fatal(err)
		}
		if err := fields["date_to"].As(&periods[i].DateTo); err != nil {
			t.Fatal(err)
		}
	}
	return periods, nil
}

var periodsType = tftypes.List{ElementType: tftypes.Object{AttributeTypes: map[string]tftypes.Type{"date_from": tftypes.String, "date_to": tftypes.String}}}

// The calendar itself is tested where it is: TestCalendar.
func TestPeriods(t *testing.T) {
	t.Parallel()
	got, failed := callPeriods(t, "2024-02-01 14:23:01", "month", 2)
	want := []periodModel{{"2024-02-01T00:00:00Z", "2024-02-29T23:59:59Z"}, {"2024-03-01T00:00:00Z", "2024-03-31T23:59:59Z"}}
	if failed != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, %v, want %v", got, failed, want)
	}
	got, failed = callPeriods(t, "1970-01-01", "day", 49_710) // all that Ylem's statistics know
	if failed != nil || len(got) != 49_710 || got[49_709].DateTo != "2106-02-06T23:59:59Z" {
		t.Errorf("%d days: %v", len(got), failed)
	}
}

func TestPeriodsRefuse(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		dateFrom string
		period   string
		number   int64
		argument int64
		says     []string
	}{
		"no time":                {"31.01.2024", "day", 1, 0, []string{`"31.01.2024" is not a time`, timeForm}},
		"no such day":            {"2023-02-29", "day", 1, 0, []string{`"2023-02-29" is not a time`, timeForm}},
		"empty time":             {"", "day", 1, 0, []string{`"" is not a time`, timeForm}},
		"a week before year 0":   {"0000-01-01", "week", 1, 0, []string{"before the year 0", "Accepted: "}},
		"no period":              {"2024-01-31", "hour", 1, 1, []string{`"hour" is not a period`, `"day", "week", "month", "quarter", "year"`}},
		"upper case":             {"2024-01-31", "MONTH", 1, 1, []string{`"MONTH" is not a period`, "Accepted: "}},
		"none":                   {"2024-01-31", "day", 0, 2, []string{"0 periods", "from 1 to 50,000"}},
		"negative":               {"2024-01-31", "day", -1, 2, []string{"-1 periods", "from 1 to 50,000"}},
		"too many":               {"1900-01-01", "day", 50_001, 2, []string{"50001 periods", "from 1 to 50,000"}},
		"far too many":           {"2024-01-31", "day", 1 << 62, 2, []string{"from 1 to 50,000"}},
		"a day too far":          {"1970-01-01", "day", 49_711, 2, []string{"49711 periods (day) from 1970-01-01T00:00:00Z", "2106-02-07", "Accepted: "}},
		"beyond what Ylem knows": {"2024-01-31", "year", 83, 2, []string{"2106-02-07"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, failed := callPeriods(t, test.dateFrom, test.period, test.number)
			if failed == nil || failed.FunctionArgument == nil || *failed.FunctionArgument != test.argument {
				t.Fatalf("got %v and the error %+v, want one of argument %d", got, failed, test.argument)
			}
			for _, says := range test.says {
				if !strings.Contains(failed.Text, says) {
					t.Errorf("does not say %q: %s", says, failed.Text)
				}
			}
		})
	}
}

// With something in every period, the statistics have exactly the periods of the function.
func TestAccPeriodsAreThoseOfTheStatistics(t *testing.T) {
	t.Parallel()
	for name, dialect := range dialects {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t, ylemtest.WithDialect(dialect))
			p := s.AddPipeline(ylemtest.Pipeline{}).UUID
			first := time.Date(2022, 12, 1, 12, 0, 0, 0, time.UTC)
			for day := range 1200 {
				s.AddRows(ylemtest.Row{PipelineUUID: p, IsSuccessful: true, ExecutedAt: first.AddDate(0, 0, day)})
			}
			tf := newTerraform(t, s.config(fmt.Sprintf(`
locals {
  arguments = setproduct(
    ["2023-01-01", "2023-01-31", "2023-11-30 08:00:00", "2024-02-29", "2023-12-31T23:30:00-05:00", "2024-01-15"],
    ["day", "week", "month", "quarter", "year"],
    [1, 2],
  )
  cases = { for a in local.arguments : jsonencode(a) => { from = a[0], period = a[1], number = a[2] } }
}
data "ylem_pipeline_aggregated_stats" "test" {
  for_each          = local.cases
  pipeline_uuid     = %q
  date_from         = each.value.from
  period            = each.value.period
  number_of_periods = each.value.number
}
output "cases" {
  value = { for name, c in local.cases : name => {
    calculated = provider::ylem::periods(c.from, c.period, c.number)
    read       = [for s in data.ylem_pipeline_aggregated_stats.test[name].stats : { date_from = s.date_from, date_to = s.date_to }]
  } }
}
`, p)))
			tf.mustRun(t, 0, "apply", "-auto-approve")
			var cases map[string]struct{ Calculated, Read []map[string]string }
			if err := json.Unmarshal([]byte(tf.mustRun(t, 0, "output", "-json", "cases")), &cases); err != nil {
				t.Fatal(err)
			}
			if len(cases) != 60 {
				t.Errorf("%d cases", len(cases))
			}
			for name, c := range cases {
				if fmt.Sprint(c.Calculated) != fmt.Sprint(c.Read) {
					t.Errorf("%s: calculated %v, Ylem has %v", name, c.Calculated, c.Read)
				}
			}
		})
	}
}

// Arguments that are only known after apply, a provider without credentials, and how Terraform shows an error.
func TestAccPeriodsInTerraform(t *testing.T) {
	t.Parallel()
	tf := newTerraform(t, `
resource "terraform_data" "first" { input = "2024-01-01" }
output "days" { value = [for p in provider::ylem::periods(terraform_data.first.output, "day", 2) : p.date_from] }
`)
	tf.mustRun(t, 2, "plan", "-detailed-exitcode")
	tf.mustRun(t, 0, "apply", "-auto-approve")
	if got := strings.Join(strings.Fields(tf.mustRun(t, 0, "output", "-json", "days")), ""); got != `["2024-01-01T00:00:00Z","2024-01-02T00:00:00Z"]` {
		t.Errorf("days: %s", got)
	}
	for arguments, says := range map[string]string{
		`"2024-02-30", "day", 1`:   `Invalid value for "date_from" parameter: "2024-02-30" is not a time. Accepted:`,
		`"2024-02-01", "days", 1`:  `Invalid value for "period" parameter: "days" is not a period. Accepted:`,
		`"2024-02-01", "day", 0`:   `Invalid value for "number" parameter: 0 periods. Accepted: a whole number from 1 to 50,000.`,
		`"2024-02-01", "day", 1.5`: `Invalid value for "number" parameter`,
		`null, "day", 1`:           `Invalid value for "date_from" parameter`,
	} {
		tf.write(t, "main.tf", requirements+`output "days" { value = provider::ylem::periods(`+arguments+`) }`)
		if _, stderr, code := tf.run(t, "plan", "-no-color"); code != 1 || !loosely(says).MatchString(stderr) {
			t.Errorf("%s: exit code %d, want %q:\n%s", arguments, code, says, stderr)
		}
	}
}

func TestFunctionsAreImplementedCorrectly(t *testing.T) {
	t.Parallel()
	for _, build := range (&ylemProvider{}).Functions(t.Context()) {
		f := build()
		var metadata function.MetadataResponse
		f.Metadata(t.Context(), function.MetadataRequest{}, &metadata)
		var definition function.DefinitionResponse
		f.Definition(t.Context(), function.DefinitionRequest{}, &definition)
		var resp function.DefinitionValidateResponse
		definition.Definition.ValidateImplementation(t.Context(), function.DefinitionValidateRequest{FuncName: metadata.Name}, &resp)
		for _, d := range resp.Diagnostics {
			t.Errorf("%s: %s: %s", metadata.Name, d.Summary(), d.Detail())
		}
	}
}
