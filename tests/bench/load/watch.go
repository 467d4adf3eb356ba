// Watches: how fast events reach many watchers, and how late.
package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

// watch has --watchers watchers of one prefix told of --total puts of --clients clients. The time runs
// from the first put until the last watcher knows the last event; an op is one event at one watcher,
// and its latency begins before its put.
func watch(ctx context.Context, o *Options) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watching := *o
	watching.Conns = max(1, min(o.Watchers/o.PerStream, 10))
	links, err := connect(&watching)
	if err != nil {
		return err
	}
	var created, all sync.WaitGroup
	streams := make([]*watchStream, 0, o.Watchers/o.PerStream+1)
	for opened := 0; opened < o.Watchers; opened += o.PerStream {
		s := &watchStream{watchers: min(o.PerStream, o.Watchers-opened), puts: o.Total}
		streams = append(streams, s)
		created.Add(1)
		link := links[len(streams)%len(links)]
		all.Go(func() { s.err = s.follow(ctx, link, o.Prefix, created.Done) })
	}
	created.Wait()
	tally := newTally("delivery")
	writers := *o
	writers.Watchers = 1
	puts, err := run(ctx, &writers, "put", o.Total, stamped(o))
	if err != nil {
		return err
	}
	if puts.result.Errors > 0 {
		cancel() // the events of failed puts never come
	}
	all.Wait()
	tally.stop()
	for _, s := range streams {
		if s.err != nil {
			tally.fail(s.err)
		}
		tally.join(&s.times, s.events, s.bytes, 0)
	}
	tally.result.ClientCPU = max(tally.result.ClientCPU, puts.result.ClientCPU)
	return errors.Join(puts.print(), tally.print())
}

// stamped puts keys whose values hold the time of their writing.
func stamped(o *Options) doer {
	return func(ctx context.Context, w *Worker, number int) error {
		value := append([]byte(nil), w.value(max(o.ValueSize, 8))...)
		stamp(value)
		ask := &pb.PutRequest{Key: keyName(o.Prefix, number%o.Keys), Value: value}
		_, err := pb.NewKVClient(w.link).Put(ctx, ask)
		return err
	}
}

// watchStream is one stream with some watchers that see the same, or, if single, a key each.
type watchStream struct {
	watchers int
	puts     int
	single   bool
	events   int
	bytes    int64
	times    Histogram
	err      error
}

func (s *watchStream) wanted() int {
	if s.single {
		return s.puts
	}
	return s.watchers * s.puts
}

func (s *watchStream) follow(
	ctx context.Context, link *grpc.ClientConn, prefix string, ready func(),
) error {
	ready = sync.OnceFunc(ready)
	defer ready()
	calls, err := openWatch(ctx, link)
	if err != nil {
		return err
	}
	for number := range s.watchers {
		ask := &pb.WatchCreateRequest{Key: []byte(prefix), RangeEnd: end(prefix)}
		if s.single {
			ask = &pb.WatchCreateRequest{Key: keyName(prefix, number)}
		}
		if err := calls.SendMsg(&pb.WatchRequest{
			RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: ask},
		}); err != nil {
			return err
		}
	}
	for created := 0; s.events < s.wanted(); {
		var answer raw
		if err := calls.RecvMsg(&answer); err != nil {
			return fmt.Errorf("after %d of %d events: %w", s.events, s.wanted(), err)
		}
		news, err := s.scan(answer.bytes)
		if err != nil {
			return err
		}
		if news.canceled {
			return errors.New("a watcher was cancelled: " + news.reason)
		}
		if news.created {
			if created++; created == s.watchers {
				ready()
			}
		}
	}
	return calls.CloseSend()
}

func openWatch(ctx context.Context, link *grpc.ClientConn) (grpc.ClientStream, error) {
	desc := &grpc.StreamDesc{StreamName: "Watch", ServerStreams: true, ClientStreams: true}
	return link.NewStream(ctx, desc, "/etcdserverpb.Watch/Watch")
}

type watchNews struct {
	created, canceled bool
	progress          bool // the answer to a request for it, of the whole stream
	reason            string
}

// scan counts the events of a WatchResponse and how old each is.
func (s *watchStream) scan(message []byte) (watchNews, error) {
	var news watchNews
	s.bytes += int64(len(message))
	err := fields(message, func(number fieldNumber, bytes []byte, value uint64) {
		switch number {
		case 2:
			news.progress = value == math.MaxUint64 // the id is -1
		case 3:
			news.created = value != 0
		case 4:
			news.canceled = value != 0
		case 6:
			news.reason = string(bytes)
		case 11:
			s.events++
			_ = fields(bytes, func(number fieldNumber, object []byte, _ uint64) {
				if number != 2 {
					return
				}
				_ = fields(object, func(number fieldNumber, value []byte, _ uint64) {
					if number == 5 && len(value) >= 8 {
						s.times.add(age(value))
					}
				})
			})
		}
	})
	return news, err
}
