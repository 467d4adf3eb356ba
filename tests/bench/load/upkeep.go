// What an operator does: waiting for a server, deleting much, compacting, defragmenting.
package main

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

const pollEvery = 2 * time.Millisecond

// ready ends when a linearizable read is answered; there is one op, and its latency is the waiting.
func ready(ctx context.Context, o *Options) error {
	tally := newTally("ready")
	for {
		link, err := net.DialTimeout("tcp", o.Endpoint, time.Second)
		if err == nil {
			_ = link.Close()
			if answered(ctx, o) {
				break
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pollEvery):
		}
	}
	var times Histogram
	times.add(time.Since(tally.begun))
	tally.stop()
	tally.join(&times, 1, 0, 0)
	return tally.print()
}

func answered(ctx context.Context, o *Options) bool {
	links, err := connect(&Options{Endpoint: o.Endpoint, Conns: 1, Clients: 1})
	if err != nil {
		return false
	}
	defer links[0].Close()
	_, err = get(ctx, links[0], oneKey("bench-load"))
	return err == nil
}

// once runs a single request that gives back a revision or a size.
func once(ctx context.Context, o *Options, name string, do func(*grpc.ClientConn, *Result) error) error {
	links, err := connect(o)
	if err != nil {
		return err
	}
	if err := greet(ctx, links); err != nil {
		return err
	}
	tally := newTally(name)
	var times Histogram
	begun := time.Now()
	if err := do(links[0], &tally.result); err != nil {
		return err
	}
	times.add(time.Since(begun))
	tally.stop()
	tally.join(&times, 1, 0, 0)
	return tally.print()
}

// deletePrefix deletes --keys keys from --from on, in one request; `keys` says how many there were.
func deletePrefix(ctx context.Context, o *Options) error {
	return once(ctx, o, "delete-prefix", func(link *grpc.ClientConn, result *Result) error {
		answer, err := pb.NewKVClient(link).DeleteRange(ctx, &pb.DeleteRangeRequest{
			Key:      keyName(o.Prefix, o.From),
			RangeEnd: keyName(o.Prefix, o.From+o.Keys),
		})
		if err != nil {
			return err
		}
		result.Keys = answer.Deleted
		return expect(answer.Deleted, o.Keys)
	})
}

func revisionNow(ctx context.Context, link *grpc.ClientConn) (int64, error) {
	answer, err := get(ctx, link, oneKey("bench-load"))
	if err != nil {
		return 0, err
	}
	var listed Listed
	err = listed.scan(answer, nil)
	return listed.Revision, err
}

func compactTo(ctx context.Context, link *grpc.ClientConn, revision int64) error {
	ask := &pb.CompactionRequest{Revision: revision, Physical: true}
	_, err := pb.NewKVClient(link).Compact(ctx, ask)
	return err
}

// compact removes all history and waits until it is gone.
func compact(ctx context.Context, o *Options) error {
	return once(ctx, o, "compact", func(link *grpc.ClientConn, result *Result) error {
		revision, err := revisionNow(ctx, link)
		if err != nil {
			return err
		}
		result.Revision = revision
		return compactTo(ctx, link, revision)
	})
}

func defragment(ctx context.Context, o *Options) error {
	return once(ctx, o, "defragment", func(link *grpc.ClientConn, _ *Result) error {
		_, err := pb.NewMaintenanceClient(link).Defragment(ctx, &pb.DefragmentRequest{})
		return err
	})
}

// status tells the revision, and as bytes what the server says it has on disk.
func status(ctx context.Context, o *Options) error {
	return once(ctx, o, "status", func(link *grpc.ClientConn, result *Result) error {
		answer, err := pb.NewMaintenanceClient(link).Status(ctx, &pb.StatusRequest{})
		if err != nil {
			return err
		}
		result.Revision, result.Bytes = answer.Header.Revision, answer.DbSize
		return nil
	})
}

// compacting puts for --seconds in quiet, then while all history is compacted; two lines, and a third
// for the compaction itself.
func compacting(ctx context.Context, o *Options) error {
	links, err := connect(o)
	if err != nil {
		return err
	}
	if err := greet(ctx, links); err != nil {
		return err
	}
	puts := putter(o, nil)
	endless := 1 << 60
	quietly, stop := context.WithTimeout(ctx, time.Duration(o.Seconds*float64(time.Second)))
	defer stop()
	until := func(over func() bool) doer {
		return func(_ context.Context, w *Worker, number int) error {
			if over() {
				return errOver
			}
			return puts(ctx, w, number)
		}
	}
	quiet := runOn(ctx, o, links, "quiet", endless, until(func() bool { return quietly.Err() != nil }))
	revision, err := revisionNow(ctx, links[0])
	if err != nil {
		return err
	}
	var done atomic.Bool
	var both sync.WaitGroup
	removal := newTally("compact")
	both.Go(func() {
		begun := time.Now()
		if err := compactTo(ctx, links[0], revision); err != nil {
			removal.fail(err)
		}
		var times Histogram
		times.add(time.Since(begun))
		removal.stop()
		removal.join(&times, 1, 0, 0)
		done.Store(true)
	})
	busy := runOn(ctx, o, links, "compacting", endless, until(done.Load))
	both.Wait()
	for _, tally := range []*Tally{quiet, busy, removal} {
		if err := tally.print(); err != nil {
			return err
		}
	}
	return nil
}
