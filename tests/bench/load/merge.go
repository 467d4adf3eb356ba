// Watches over many tablets: what joining them costs an event, and how long a progress answer takes.
package main

import (
	"context"
	"errors"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// merge has the same --total puts seen twice: by one watcher of the whole prefix, and by one watcher
// a key, on a stream of their own. Of a store that spreads keys over tablets the first waits for all
// of them, each of the others for one. Latencies begin before the put.
func merge(ctx context.Context, o *Options) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watching := *o
	watching.Conns, watching.Clients = 2, 2
	links, err := connect(&watching)
	if err != nil {
		return err
	}
	streams := []*watchStream{
		{watchers: 1, puts: o.Total},
		{watchers: o.Keys, puts: o.Total, single: true},
	}
	tallies := []*Tally{newTally("all tablets"), newTally("one tablet")}
	var created, all sync.WaitGroup
	for i, s := range streams {
		created.Add(1)
		all.Go(func() { s.err = s.follow(ctx, links[i], o.Prefix, created.Done) })
	}
	created.Wait()
	puts, err := run(ctx, o, "put", o.Total, stamped(o))
	if err != nil {
		return err
	}
	if puts.result.Errors > 0 {
		cancel() // the events of failed puts never come
	}
	all.Wait()
	for i, s := range streams {
		tallies[i].stop()
		if s.err != nil {
			tallies[i].fail(s.err)
		}
		tallies[i].join(&s.times, s.events, s.bytes, 0)
		tallies[i].result.ClientCPU = max(tallies[i].result.ClientCPU, puts.result.ClientCPU)
		err = errors.Join(err, tallies[i].print())
	}
	return errors.Join(err, puts.print())
}

// progress asks --total times, one after the other, how far a stream is that watches the whole prefix,
// while one client puts one key --rate times a second: whoever has the other keys is idle.
func progress(ctx context.Context, o *Options) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	links, err := connect(o)
	if err != nil {
		return err
	}
	calls, err := openWatch(ctx, links[0])
	if err != nil {
		return err
	}
	ask := &pb.WatchCreateRequest{Key: []byte(o.Prefix), RangeEnd: end(o.Prefix)}
	create := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: ask}}
	if err := calls.SendMsg(create); err != nil {
		return err
	}
	var puts *Tally
	var failed error
	over := make(chan struct{})
	var writing sync.WaitGroup
	writing.Go(func() { puts, failed = putOneKey(ctx, o, over) })
	stream := &watchStream{}
	asking := *o
	asking.Clients, asking.Rate = 1, 0
	request := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{
		ProgressRequest: &pb.WatchProgressRequest{},
	}}
	tally := runOn(ctx, &asking, links, "progress", o.Total,
		func(context.Context, *Worker, int) error {
			if err := calls.SendMsg(request); err != nil {
				return err
			}
			for {
				var answer raw
				if err := calls.RecvMsg(&answer); err != nil {
					return err
				}
				news, err := stream.scan(answer.bytes)
				if err != nil {
					return err
				}
				if news.canceled {
					return errors.New("the watcher was cancelled: " + news.reason)
				}
				if news.progress {
					return nil
				}
			}
		})
	close(over)
	writing.Wait()
	if failed != nil {
		return failed
	}
	return errors.Join(tally.print(), puts.print())
}

// putOneKey puts until it is over.
func putOneKey(ctx context.Context, o *Options, over <-chan struct{}) (*Tally, error) {
	writers := *o
	writers.Clients, writers.Conns, writers.Keys = 1, 1, 1
	put := stamped(&writers)
	return run(ctx, &writers, "put", 1<<40, func(ctx context.Context, w *Worker, number int) error {
		select {
		case <-over:
			return errOver
		default:
			return put(ctx, w, number)
		}
	})
}
