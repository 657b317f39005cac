package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// raw passes messages as they are.
type raw struct{}

func (raw) Name() string { return "raw" }

func (raw) Marshal(v any) ([]byte, error) {
	b, ok := v.(*[]byte)
	if !ok {
		return nil, fmt.Errorf("marshal %T: only bytes are sent", v)
	}
	return *b, nil
}

func (raw) Unmarshal(p []byte, v any) error {
	b, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("unmarshal %T: only bytes are received", v)
	}
	*b = append([]byte(nil), p...)
	return nil
}

// serviceOf is the gRPC service of a backend.
func serviceOf(backend string) string { return backend + ".Ledger" }

func (b *Backend) newGRPC() *grpc.Server {
	s := grpc.NewServer(grpc.ForceServerCodec(raw{}))
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: serviceOf(b.Name),
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Unary", Handler: b.unary}},
		Streams:     []grpc.StreamDesc{{StreamName: "Bidi", Handler: b.bidi, ServerStreams: true, ClientStreams: true}},
	}, b)
	return s
}

// ticketKey is the metadata that a ticket travels in.
const ticketKey = "ticket"

func (b *Backend) arriveGRPC(ctx context.Context) (Request, error) {
	ticket := ""
	if md, ok := metadata.FromIncomingContext(ctx); ok && len(md[ticketKey]) == 1 {
		ticket = md[ticketKey][0]
	}
	t, err := b.arrive(ticket)
	if err != nil {
		return t, status.Error(codes.InvalidArgument, err.Error())
	}
	return t, nil
}

var errBroken = status.Error(codes.Unavailable, "this backend breaks off")

func (b *Backend) unary(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	t, err := b.arriveGRPC(ctx)
	if err != nil {
		return nil, err
	}
	var body []byte
	if err := decode(&body); err != nil {
		return nil, err
	}
	b.note(&t, Received, digest(body))
	if t.Behaviour == Reset {
		return nil, errBroken
	}
	for _, begun := range []bool{false, true} {
		if err := b.pause(&t, begun, ctx.Done()); err != nil {
			return nil, err
		}
	}
	body = b.answer(&t)
	return &body, nil
}

func (b *Backend) bidi(_ any, stream grpc.ServerStream) error {
	t, err := b.arriveGRPC(stream.Context())
	if err != nil {
		return err
	}
	if t.Behaviour != Early {
		hash := xxhash.New()
		for {
			var p []byte
			if err := stream.RecvMsg(&p); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return err
			}
			_, _ = hash.Write(p)
		}
		b.note(&t, Received, hash.Sum64())
	}
	if t.Behaviour == Reset {
		return errBroken
	}
	if err := b.pause(&t, false, stream.Context().Done()); err != nil {
		return err
	}
	parts := pieces(t.ID, b.answer(&t))
	for i, p := range parts {
		if i == len(parts)/2 {
			if t.Behaviour == Half {
				return errBroken
			}
			if err := b.pause(&t, true, stream.Context().Done()); err != nil {
				return err
			}
		}
		if err := stream.SendMsg(&p); err != nil {
			return err
		}
	}
	return nil
}
