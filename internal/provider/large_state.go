package provider

import (
	"context"
	"encoding/binary"
	"slices"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// largeState is what a data source reads that is too large for the framework: that makes values of its own of a state,
// copies, compares and walks them, which took half a minute and 1.4 GB for a log of 46 MB. Read leaves the lists null,
// and the server fills them in, element by element, when the framework is done.
type largeState struct {
	object tftypes.Object // of the whole state
	lists  map[string]largeList
}

// largeList is a list attribute. element is called once for each of them, in order.
type largeList struct {
	length  int
	size    int // a guess of the size in bytes, rather too high
	element func(i int) map[string]tftypes.Value
}

type largeStateKey struct{}

// withLargeState returns a context in which Read may set large lists, and where they are found afterwards.
func withLargeState(ctx context.Context) (context.Context, *largeState) {
	l := new(largeState)
	return context.WithValue(ctx, largeStateKey{}, l), l
}

// setLarge sets lists of a data source's state, whose schema knows their types.
func setLarge(ctx context.Context, state tfsdk.State, lists map[string]largeList) {
	l := ctx.Value(largeStateKey{}).(*largeState)
	l.object = state.Schema.Type().TerraformType(ctx).(tftypes.Object)
	l.lists = lists
}

// fill replaces the lists of an encoded state. The state is MessagePack: a map whose values terraform-plugin-go encodes.
func (l *largeState) fill(state *tfprotov6.DynamicValue) error {
	value, err := state.Unmarshal(l.object)
	if err != nil {
		return err
	}
	var attributes map[string]tftypes.Value
	if err := value.As(&attributes); err != nil {
		return err
	}
	size := 0
	for _, list := range l.lists {
		size += list.size
	}
	packed := slices.Grow([]byte(nil), size+len(state.MsgPack))
	packed = binary.BigEndian.AppendUint16(append(packed, 0xde), uint16(len(attributes))) // a map …
	for name, value := range attributes {
		if packed, err = appendValue(packed, tftypes.NewValue(tftypes.String, name)); err != nil {
			return err
		}
		list, ok := l.lists[name]
		if !ok {
			if packed, err = appendValue(packed, value); err != nil {
				return err
			}
			continue
		}
		typ := l.object.AttributeTypes[name].(tftypes.List).ElementType
		packed = binary.BigEndian.AppendUint32(append(packed, 0xdd), uint32(list.length)) // … and an array
		for i := range list.length {
			if packed, err = appendValue(packed, tftypes.NewValue(typ, list.element(i))); err != nil {
				return err
			}
		}
	}
	state.MsgPack = packed
	return nil
}

func appendValue(packed []byte, value tftypes.Value) ([]byte, error) {
	encoded, err := tfprotov6.NewDynamicValue(value.Type(), value)
	return append(packed, encoded.MsgPack...), err
}

var nullString = tftypes.NewValue(tftypes.String, nil)

func stringValue(s string) tftypes.Value { return tftypes.NewValue(tftypes.String, s) }
func intValue(n int64) tftypes.Value     { return tftypes.NewValue(tftypes.Number, n) }
func boolValue(b bool) tftypes.Value     { return tftypes.NewValue(tftypes.Bool, b) }

// timeString is timeValue for an element of a large list.
func timeString(t time.Time) tftypes.Value {
	if t.IsZero() {
		return nullString
	}
	return stringValue(formatTime(t))
}
