// Connections, and answers that are counted instead of decoded.
//
// A list of 100,000 objects or 100,000 events a second would keep the client busier than the server if
// each became a Go object. So answers to Range, RangeStream and Watch stay bytes, and only the fields
// that are asked for are looked at: for each object of a list its key and revision, for each event the
// first bytes of its value, which hold the time it was written.
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// raw is an answer that stays as it came.
type raw struct{ bytes []byte }

// codec is protobuf, but for raw.
type codec struct{}

func (codec) Name() string { return "proto" }

func (codec) Marshal(v any) ([]byte, error) {
	message, is := v.(proto.Message)
	if !is {
		return nil, fmt.Errorf("cannot send %T", v)
	}
	return proto.Marshal(message)
}

func (codec) Unmarshal(data []byte, v any) error {
	switch into := v.(type) {
	case *raw:
		into.bytes = data // gRPC made it for us alone
		return nil
	case proto.Message:
		return proto.Unmarshal(data, into)
	default:
		return fmt.Errorf("cannot receive %T", v)
	}
}

// connect opens the connections; they connect by themselves when they are used.
func connect(o *Options) ([]*grpc.ClientConn, error) {
	links := make([]*grpc.ClientConn, min(o.Conns, max(o.Clients, o.Watchers)))
	for i := range links {
		link, err := grpc.NewClient(
			"passthrough:///"+o.Endpoint,
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(
				grpc.ForceCodec(codec{}),
				grpc.MaxCallRecvMsgSize(math.MaxInt32),
				grpc.MaxCallSendMsgSize(math.MaxInt32),
				grpc.WaitForReady(true),
			),
		)
		if err != nil {
			return nil, err
		}
		links[i] = link
	}
	return links, nil
}

type fieldNumber = protowire.Number

// fields calls `each` for every field of a message; bytes is nil for what has no length.
func fields(message []byte, each func(number protowire.Number, bytes []byte, value uint64)) error {
	for len(message) > 0 {
		number, kind, size := protowire.ConsumeTag(message)
		if size < 0 {
			return protowire.ParseError(size)
		}
		message = message[size:]
		switch kind {
		case protowire.BytesType:
			bytes, size := protowire.ConsumeBytes(message)
			if size < 0 {
				return protowire.ParseError(size)
			}
			each(number, bytes, 0)
			message = message[size:]
		case protowire.VarintType:
			value, size := protowire.ConsumeVarint(message)
			if size < 0 {
				return protowire.ParseError(size)
			}
			each(number, nil, value)
			message = message[size:]
		default:
			size := protowire.ConsumeFieldValue(number, kind, message)
			if size < 0 {
				return protowire.ParseError(size)
			}
			message = message[size:]
		}
	}
	return nil
}

// Listed is what is known of a Range's answer.
type Listed struct {
	Keys     int64
	Last     []byte
	More     bool
	Count    int64
	Revision int64
}

// scan reads an answer to Range; `each`, if any, is called with the key and revision of each object.
func (l *Listed) scan(answer []byte, each func(key []byte, revision int64)) error {
	var broken error
	err := fields(answer, func(number protowire.Number, bytes []byte, value uint64) {
		switch {
		case number == 1: // header
			broken = fields(bytes, func(number protowire.Number, _ []byte, value uint64) {
				if number == 3 {
					l.Revision = int64(value)
				}
			})
		case number == 2: // kvs; only the last key matters for the next page
			l.Keys++
			l.Last = bytes
			if each != nil {
				key, revision := keyOf(bytes)
				each(key, revision)
			}
		case number == 3:
			l.More = value != 0
		case number == 4:
			l.Count = int64(value)
		}
	})
	if err != nil {
		return err
	}
	return broken
}

// keyOf is the key and the mod revision of a KeyValue.
func keyOf(object []byte) (key []byte, revision int64) {
	_ = fields(object, func(number protowire.Number, bytes []byte, value uint64) {
		switch number {
		case 1:
			key = bytes
		case 3:
			revision = int64(value)
		}
	})
	return key, revision
}

// get makes one Range.
func get(ctx context.Context, link *grpc.ClientConn, ask *pb.RangeRequest) ([]byte, error) {
	var answer raw
	err := link.Invoke(ctx, "/etcdserverpb.KV/Range", ask, &answer)
	return answer.bytes, err
}

// end is the first key after all those with this prefix, which may not end in 0xff.
func end(prefix string) []byte {
	last := []byte(prefix)
	last[len(last)-1]++
	return last
}

var epoch = time.Now() // of the times inside values

// stamp writes the present time into the first bytes of a value.
func stamp(value []byte) { binary.BigEndian.PutUint64(value, uint64(time.Since(epoch))) }

// age is how long ago the value was stamped.
func age(value []byte) time.Duration {
	return time.Since(epoch) - time.Duration(binary.BigEndian.Uint64(value))
}
