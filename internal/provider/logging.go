package provider

import (
	"context"
	"log/slog"

	"github.com/hashicorp/terraform-plugin-log/tflog"
)

// newLogger lets the client, which knows nothing of Terraform, write to Terraform's log.
func newLogger() *slog.Logger { return slog.New(tflogHandler{}) }

type tflogHandler struct{}

func (tflogHandler) Enabled(context.Context, slog.Level) bool { return true }

func (tflogHandler) Handle(ctx context.Context, record slog.Record) error {
	fields := make(map[string]any, record.NumAttrs())
	record.Attrs(func(a slog.Attr) bool {
		fields[a.Key] = a.Value.Any()
		return true
	})
	switch {
	case record.Level >= slog.LevelError:
		tflog.Error(ctx, record.Message, fields)
	case record.Level >= slog.LevelWarn:
		tflog.Warn(ctx, record.Message, fields)
	case record.Level >= slog.LevelInfo:
		tflog.Info(ctx, record.Message, fields)
	default:
		tflog.Debug(ctx, record.Message, fields)
	}
	return nil
}

// The client neither groups nor presets attributes.
func (h tflogHandler) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h tflogHandler) WithGroup(string) slog.Handler      { return h }
