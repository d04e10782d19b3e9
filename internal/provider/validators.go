package provider

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/request"
)

var (
	scopePattern       = regexp.MustCompile(`^[^\s,]+$`)
	headerValuePattern = regexp.MustCompile(`^[\t\x20-\x7e\x80-\x{10ffff}]*$`)
)

// check validates a string that is known and set; its error says what is wrong, form shows what is accepted.
func check(req validator.StringRequest, resp *validator.StringResponse, summary, form string, valid func(string) error) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	if err := valid(req.ConfigValue.ValueString()); err != nil {
		refuse(&resp.Diagnostics, req.Path, summary, form, err)
	}
}

func refuse(diags *diag.Diagnostics, at path.Path, summary, form string, err error) {
	diags.AddAttributeError(at, summary, fmt.Sprintf("%s: %s.\n\nAccepted: %s.", at, err, form))
}

const uuidForm = `a UUID such as "6b1d7a52-8c2e-4d3f-9a61-0f5e2c7b9d10", as Ylem shows it on the page of the pipeline or task`

type uuidValidator struct{}

func (uuidValidator) Description(context.Context) string             { return "must be " + uuidForm }
func (v uuidValidator) MarkdownDescription(c context.Context) string { return v.Description(c) }

func (uuidValidator) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	check(req, resp, "Invalid UUID", uuidForm, func(s string) error {
		if !ylem.ValidUUID(s) {
			return fmt.Errorf("%q is not a UUID", s)
		}
		return nil
	})
}

const timeForm = `"2024-01-31T14:23:01Z" (RFC 3339, any offset), "2024-01-31 14:23:01" or "2024-01-31" (both UTC)`

type timeValidator struct{}

func (timeValidator) Description(context.Context) string             { return "must be a time: " + timeForm }
func (v timeValidator) MarkdownDescription(c context.Context) string { return v.Description(c) }

func (timeValidator) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	check(req, resp, "Invalid time", timeForm, func(s string) error {
		if _, err := ylem.ParseTime(s); err != nil {
			return fmt.Errorf("%q is not a time", s)
		}
		return nil
	})
}

const urlForm = `an address such as "https://ylem.example.com" or "http://localhost:7339"`

type urlValidator struct{}

func (urlValidator) Description(context.Context) string             { return "must be " + urlForm }
func (v urlValidator) MarkdownDescription(c context.Context) string { return v.Description(c) }

func (urlValidator) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	check(req, resp, "Invalid address of Ylem", urlForm, func(s string) error {
		_, err := request.ParseBaseURL(s)
		return err
	})
}

const headerForm = "a name such as \"CF-Access-Client-Id\", but none that the provider sets itself or that changes what a request means"

type headerNamesValidator struct{}

func (headerNamesValidator) Description(context.Context) string {
	return "must have for a key " + headerForm
}

func (v headerNamesValidator) MarkdownDescription(c context.Context) string { return v.Description(c) }

func (headerNamesValidator) ValidateMap(_ context.Context, req validator.MapRequest, resp *validator.MapResponse) {
	wrong := request.CheckHeaders(slices.Collect(maps.Keys(req.ConfigValue.Elements())))
	for _, name := range slices.Sorted(maps.Keys(wrong)) {
		refuse(&resp.Diagnostics, req.Path.AtMapKey(name), "Invalid header", headerForm, wrong[name])
	}
}

const headerValueForm = "one line of printable characters; trimspace() removes a file's last line break"

// headerValueValidator does not repeat the value: it is a secret, most likely.
type headerValueValidator struct{}

func (headerValueValidator) Description(context.Context) string { return "must be " + headerValueForm }

func (v headerValueValidator) MarkdownDescription(c context.Context) string { return v.Description(c) }

func (headerValueValidator) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	check(req, resp, "Invalid header", headerValueForm, func(s string) error {
		if !headerValuePattern.MatchString(s) {
			return errors.New("the value, which is not shown, has a line break or a control character")
		}
		return nil
	})
}

const inputForm = "at most 65,535 bytes: an open-source server cannot store more, and answers 500"

// inputValidator refuses an input that would look like a run which may have been started.
type inputValidator struct{}

func (inputValidator) Description(context.Context) string             { return "must be " + inputForm }
func (v inputValidator) MarkdownDescription(c context.Context) string { return v.Description(c) }

func (inputValidator) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	check(req, resp, "Input too long", inputForm, func(s string) error {
		if len(s) > ylem.MaxInput {
			return fmt.Errorf("the value has %d bytes", len(s))
		}
		return nil
	})
}

const keyForm = "one line of 1 to 200 characters"

// keyValidator checks idempotency keys, which are shown in Ylem.
type keyValidator struct{}

func (keyValidator) Description(context.Context) string             { return "must be " + keyForm }
func (v keyValidator) MarkdownDescription(c context.Context) string { return v.Description(c) }

func (keyValidator) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	check(req, resp, "Invalid idempotency key", keyForm, func(s string) error {
		if n := utf8.RuneCountInString(s); n == 0 || n > 200 {
			return fmt.Errorf("the value has %d characters", n)
		}
		if strings.ContainsFunc(s, unicode.IsControl) {
			return errors.New("the value has a line break or a control character")
		}
		return nil
	})
}
