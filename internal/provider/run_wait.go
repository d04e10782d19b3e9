package provider

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/follow"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/request"
)

// The defaults of waiting.
const (
	defaultQuietPeriod  = 30 * time.Second
	defaultPollInterval = 5 * time.Second
	defaultTimeout      = 20 * time.Minute
	minPollInterval     = 100 * time.Millisecond
)

// The values of on_failure and on_timeout.
const (
	onError = "error"
	onWarn  = "warn"
)

// completionModel is the attribute completion.
type completionModel struct {
	FinalTaskUUIDs types.Set `tfsdk:"final_task_uuids"`
	QuietPeriod    duration  `tfsdk:"quiet_period"`
	PollInterval   duration  `tfsdk:"poll_interval"`
}

// completionFrom reads the attribute completion, with defaults for what is not set.
func completionFrom(ctx context.Context, object types.Object, diags *diag.Diagnostics) (c follow.Completion, pollInterval time.Duration) {
	var m completionModel
	if !object.IsNull() {
		diags.Append(object.As(ctx, &m, basetypes.ObjectAsOptions{})...)
	}
	if !m.FinalTaskUUIDs.IsNull() {
		diags.Append(m.FinalTaskUUIDs.ElementsAs(ctx, &c.FinalTaskUUIDs, false)...)
	}
	c.QuietPeriod = m.QuietPeriod.or(defaultQuietPeriod, quietPeriodPath, diags)
	return c, m.PollInterval.or(defaultPollInterval, path.Root("completion").AtName("poll_interval"), diags)
}

// quietPeriodCheck compares the quiet period with a timeout: a wait that is cut off before the quiet period can be over
// never succeeds.
type quietPeriodCheck struct {
	applies bool
	quiet   time.Duration
}

// newQuietPeriodCheck reads a configuration. The check applies only if what it needs is known.
func newQuietPeriodCheck(ctx context.Context, config tfsdk.Config, diags *diag.Diagnostics) quietPeriodCheck {
	var wait types.Bool
	var completion types.Object
	diags.Append(config.GetAttribute(ctx, path.Root("wait_for_completion"), &wait)...)
	diags.Append(config.GetAttribute(ctx, path.Root("completion"), &completion)...)
	if !wait.ValueBool() || completion.IsUnknown() {
		return quietPeriodCheck{}
	}
	var m completionModel
	if !completion.IsNull() {
		diags.Append(completion.As(ctx, &m, basetypes.ObjectAsOptions{})...)
	}
	return quietPeriodCheck{m.FinalTaskUUIDs.IsNull() && !m.QuietPeriod.IsUnknown(), m.QuietPeriod.or(defaultQuietPeriod, quietPeriodPath, diags)}
}

// tooLong reports whether the quiet period outlasts a timeout, and what that is.
func (c quietPeriodCheck) tooLong(text types.String) (timeout time.Duration, tooLong bool) {
	if !c.applies || text.IsUnknown() {
		return 0, false
	}
	timeout = defaultTimeout
	if d, err := time.ParseDuration(text.ValueString()); err == nil {
		timeout = d
	}
	return timeout, timeout > 0 && c.quiet >= timeout
}

// refuse refuses a wait that could never succeed.
func (c quietPeriodCheck) refuse(timeout types.String, diags *diag.Diagnostics) {
	if timeout, tooLong := c.tooLong(timeout); tooLong {
		diags.AddAttributeError(quietPeriodPath, "The quiet period outlasts the timeout", quietPeriodDetail(timeout, c.quiet))
	}
}

var quietPeriodPath = path.Root("completion").AtName("quiet_period")

// ending is how a wait ended.
type ending int

const (
	waitSucceeded ending = iota
	waitFailed
	waitTimedOut
	waitInterrupted
	waitUnreadable // the log, for good
)

// outcome is how a wait ended, with what is to be said about it.
type outcome struct {
	ending   ending
	run      follow.Run
	progress follow.Progress
	options  follow.Options
	timeout  time.Duration
	took     time.Duration
	err      error // why the log could not be read, most recently
}

// wait waits for a run.
func (a api) wait(ctx context.Context, run follow.Run, options follow.Options, timeout time.Duration) outcome {
	started := time.Now()
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	progress, err := a.follower.Wait(limited, run, options)
	o := outcome{run: run, progress: progress, options: options, timeout: timeout, err: err}
	switch {
	case progress.Status == follow.Failed:
		o.ending = waitFailed
	case progress.Status == follow.Succeeded:
		o.ending = waitSucceeded
	case ctx.Err() != nil:
		o.ending = waitInterrupted
	case limited.Err() != nil:
		o.ending = waitTimedOut
	default:
		o.ending = waitUnreadable
	}
	if o.took = progress.Span(); o.took <= 0 {
		o.took = time.Since(started)
	}
	return o
}

// requestError is why the log could not be read, if a request failed.
func (o outcome) requestError() (*request.Error, bool) { return errors.AsType[*request.Error](o.err) }
