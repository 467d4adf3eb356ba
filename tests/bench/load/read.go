// Reads: whole lists in their three forms, one page, a count.
package main

import (
	"context"
	"fmt"
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

func oneKey(key string) *pb.RangeRequest { return &pb.RangeRequest{Key: []byte(key)} }

func prefixed(prefix string, limit int) *pb.RangeRequest {
	return &pb.RangeRequest{Key: []byte(prefix), RangeEnd: end(prefix), Limit: int64(limit)}
}

// after is the key that follows that of the given KeyValue; of none there is no next page.
func after(last []byte) []byte {
	if last == nil {
		return nil
	}
	key, _ := keyOf(last)
	return append(append([]byte(nil), key...), 0)
}

// list reads all --keys keys --total times, as --mode says.
func list(ctx context.Context, o *Options) error {
	var do doer
	switch o.Mode {
	case "one":
		do = func(ctx context.Context, w *Worker, _ int) error {
			ask := prefixed(o.Prefix, 0)
			ask.Revision = o.Revision
			return w.take(ctx, ask, o.Keys)
		}
	case "pages":
		do = func(ctx context.Context, w *Worker, _ int) error { return pages(ctx, w, o) }
	case "stream":
		do = func(ctx context.Context, w *Worker, _ int) error { return stream(ctx, w, o) }
	default:
		return fmt.Errorf("unknown --mode %q", o.Mode)
	}
	return finish(run(ctx, o, "list", o.Total, do))
}

// take makes one Range that has to give so many keys.
func (w *Worker) take(ctx context.Context, ask *pb.RangeRequest, keys int) error {
	listed, err := w.list(ctx, ask)
	if err != nil {
		return err
	}
	w.keys += listed.Keys
	return expect(listed.Keys, keys)
}

// list makes one Range and counts its bytes.
func (w *Worker) list(ctx context.Context, ask *pb.RangeRequest) (Listed, error) {
	var listed Listed
	answer, err := get(ctx, w.link, ask)
	if err != nil {
		return listed, err
	}
	w.bytes += int64(len(answer))
	return listed, listed.scan(answer, nil)
}

func expect(got int64, wanted int) error {
	if got != int64(wanted) {
		return fmt.Errorf("%d keys came, not %d", got, wanted)
	}
	return nil
}

// pages lists as kube-apiserver does: every page at the revision of the first.
func pages(ctx context.Context, w *Worker, o *Options) error {
	ask := prefixed(o.Prefix, o.Limit)
	ask.Revision = o.Revision
	var keys int64
	for {
		listed, err := w.list(ctx, ask)
		if err != nil {
			return err
		}
		keys += listed.Keys
		if !listed.More || listed.Keys == 0 {
			break
		}
		if ask.Revision == 0 {
			ask.Revision = listed.Revision
		}
		ask.Key = after(listed.Last)
	}
	w.keys += keys
	return expect(keys, o.Keys)
}

func stream(ctx context.Context, w *Worker, o *Options) error {
	desc := &grpc.StreamDesc{StreamName: "RangeStream", ServerStreams: true}
	calls, err := w.link.NewStream(ctx, desc, "/etcdserverpb.KV/RangeStream")
	if err != nil {
		return err
	}
	if err := calls.SendMsg(prefixed(o.Prefix, 0)); err != nil {
		return err
	}
	if err := calls.CloseSend(); err != nil {
		return err
	}
	var listed Listed
	for {
		var chunk raw
		err := calls.RecvMsg(&chunk)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		w.bytes += int64(len(chunk.bytes))
		// A chunk is a RangeResponse inside one field of its own.
		var broken error
		if err := fields(chunk.bytes, func(_ fieldNumber, bytes []byte, _ uint64) {
			if bytes != nil {
				broken = listed.scan(bytes, nil)
			}
		}); err != nil {
			return err
		}
		if broken != nil {
			return broken
		}
	}
	w.keys += listed.Keys
	return expect(listed.Keys, o.Keys)
}

// page makes one and the same Range --total times: the first --limit keys, those after the middle of
// --keys, or only the count of all.
func page(ctx context.Context, o *Options) error {
	ask := prefixed(o.Prefix, o.Limit)
	ask.Revision = o.Revision
	wanted := o.Limit
	switch o.Mode {
	case "first":
	case "middle":
		ask.Key = keyName(o.Prefix, o.From+o.Keys/2)
	case "count":
		ask.CountOnly = true
		do := func(ctx context.Context, w *Worker, _ int) error {
			answer, err := get(ctx, w.link, ask)
			if err != nil {
				return err
			}
			var listed Listed
			if err := listed.scan(answer, nil); err != nil {
				return err
			}
			w.keys += listed.Count
			return expect(listed.Count, o.Keys)
		}
		return finish(run(ctx, o, "count", o.Total, do))
	default:
		return fmt.Errorf("unknown --mode %q", o.Mode)
	}
	do := func(ctx context.Context, w *Worker, _ int) error { return w.take(ctx, ask, wanted) }
	return finish(run(ctx, o, "page", o.Total, do))
}
