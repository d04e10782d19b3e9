package provider

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6/tf6server"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// wire is a provider behind gRPC, as terraform-plugin-go serves it to Terraform: for what happens between the two.
type wire struct{ *grpc.ClientConn }

func serveOnWire(t *testing.T, server tfprotov6.ProviderServer) wire {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	plugin := tf6server.GRPCProviderPlugin{Name: "ylem", GRPCProvider: func() tfprotov6.ProviderServer { return server }, Opts: []tf6server.ServeOpt{tf6server.WithLoggingSink(t)}}
	if err := plugin.GRPCServer(nil, g); err != nil {
		t.Fatal(err)
	}
	go func() { _ = g.Serve(listener) }()
	t.Cleanup(g.Stop)
	connection, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	return wire{connection}
}

// message is an empty message of Terraform's protocol; its Go types are internal to terraform-plugin-go.
func message(t *testing.T, name string) protoreflect.Message {
	t.Helper()
	typ, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName("tfplugin6." + name))
	if err != nil {
		t.Fatal(err)
	}
	return typ.New()
}

func setField(m protoreflect.Message, name string, value protoreflect.Value) {
	m.Set(m.Descriptor().Fields().ByName(protoreflect.Name(name)), value)
}

func field(m protoreflect.Message, name string) protoreflect.Value {
	return m.Get(m.Descriptor().Fields().ByName(protoreflect.Name(name)))
}

// stop is Ctrl-C in Terraform. It returns when the provider has answered.
func (w wire) stop(t *testing.T) {
	t.Helper()
	if err := w.Invoke(t.Context(), "/tfplugin6.Provider/StopProvider", message(t, "StopProvider.Request").Interface(), message(t, "StopProvider.Response").Interface()); err != nil {
		t.Error(err)
	}
}

// events is the stream of an action's events.
type events struct{ grpc.ClientStream }

func (w wire) invoke(ctx context.Context, t *testing.T, typ tftypes.Type, arguments object) events {
	t.Helper()
	config := message(t, "DynamicValue")
	setField(config, "msgpack", protoreflect.ValueOfBytes(toDynamic(t, typ, arguments).MsgPack))
	request := message(t, "InvokeAction.Request")
	setField(request, "action_type", protoreflect.ValueOfString(actionName))
	setField(request, "config", protoreflect.ValueOfMessage(config))
	stream, err := w.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/tfplugin6.Provider/InvokeAction")
	if err == nil {
		err = stream.SendMsg(request.Interface())
	}
	if err == nil {
		err = stream.CloseSend()
	}
	if err != nil {
		t.Fatal(err)
	}
	return events{stream}
}

// next returns the next event: a progress message, or the diagnostics in the end. io.EOF is the end of the stream.
func (i events) next(t *testing.T) (progress string, completed bool, diags diagnostics, err error) {
	t.Helper()
	event := message(t, "InvokeAction.Event")
	if err := i.RecvMsg(event.Interface()); err != nil {
		return "", false, nil, err
	}
	if typ := event.WhichOneof(event.Descriptor().Oneofs().ByName("type")); typ.Name() == "progress" {
		return field(event.Get(typ).Message(), "message").String(), false, nil, nil
	}
	list := field(field(event, "completed").Message(), "diagnostics").List()
	for n := range list.Len() {
		d := list.Get(n).Message()
		diags = append(diags, &tfprotov6.Diagnostic{
			Severity: tfprotov6.DiagnosticSeverity(field(d, "severity").Enum()),
			Summary:  field(d, "summary").String(),
			Detail:   field(d, "detail").String(),
		})
	}
	return "", true, diags, nil
}

// rest reads all events that are left.
func (i events) rest(t *testing.T) (messages []string, completed bool, diags diagnostics) {
	t.Helper()
	for {
		progress, done, d, err := i.next(t)
		switch {
		case errors.Is(err, io.EOF):
			return messages, completed, diags
		case err != nil:
			t.Error(err)
			return messages, completed, diags
		case done:
			completed, diags = true, d
		default:
			messages = append(messages, progress)
		}
	}
}
