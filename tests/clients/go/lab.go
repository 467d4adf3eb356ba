package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// lab is what one scenario works with. Whatever is wrong ends the scenario by a panic with a failure.
type lab struct {
	ctx      context.Context
	endpoint string
	name     string
	seen     string // what is printed when all went well
	arrived  chan<- chan struct{}

	mu     sync.Mutex
	closes []func()
}

// failure is a broken expectation, and where it was broken.
type failure struct{ text string }

func expect(ok bool, format string, arguments ...any) {
	if !ok {
		fail(fmt.Sprintf(format, arguments...))
	}
}

func same[T comparable](what string, got, wanted T) {
	if got != wanted {
		fail(fmt.Sprintf("%s is %v, not %v", what, got, wanted))
	}
}

func noError(err error) {
	if err != nil {
		fail(err.Error())
	}
}

// must gives what a call gave, if it gave no error.
func must[T any](value T, err error) T {
	if err != nil {
		fail(err.Error())
	}
	return value
}

// isError: errors.Is is how users of the library tell its errors apart.
func isError(err, wanted error) {
	if !errors.Is(err, wanted) {
		fail(fmt.Sprintf("the error is %v, not %v", err, wanted))
	}
}

// fail names the line of the scenario, not that of the check.
func fail(text string) {
	_, file, line, _ := runtime.Caller(2)
	panic(failure{fmt.Sprintf("%s:%d: %s", file[strings.LastIndexByte(file, '/')+1:], line, text)})
}

func describe(caught any) string {
	if broken, ok := caught.(failure); ok {
		return broken.text
	}
	return fmt.Sprintf("%v\n%s", caught, debug.Stack())
}

// saw notes what a scenario saw, for whoever reads the result.
func (l *lab) saw(format string, arguments ...any) { l.seen = fmt.Sprintf(format, arguments...) }

// client opens a client of its own: a connection of its own.
func (l *lab) client() *clientv3.Client {
	client := must(clientv3.New(l.config()))
	l.later(func() { client.Close() })
	return client
}

func (l *lab) config() clientv3.Config {
	return clientv3.Config{
		Endpoints: []string{l.endpoint}, DialTimeout: 5 * time.Second, Logger: zap.NewNop(), Context: l.ctx,
	}
}

func (l *lab) later(action func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closes = append(l.closes, action)
}

// close is called twice: when the scenario is done, and when its time is over, which frees whoever waits in a call.
func (l *lab) close() {
	l.mu.Lock()
	closes := l.closes
	l.closes = nil
	l.mu.Unlock()
	for _, action := range slices.Backward(closes) {
		action()
	}
}

// restart comes back when the store has ended and runs again.
func (l *lab) restart() {
	done := make(chan struct{})
	select {
	case l.arrived <- done:
	case <-l.ctx.Done():
		fail("too late for the restart")
	}
	select {
	case <-done:
	case <-l.ctx.Done():
		fail("no restart in time")
	}
}

// prefix is where the keys of this scenario are; key names one of them.
func (l *lab) prefix() string                     { return "/registry/pods/" + l.name + "/" }
func (l *lab) key(format string, a ...any) string { return l.prefix() + fmt.Sprintf(format, a...) }

// spread gives keys that a store which is cut by resource keeps in different places.
func (l *lab) spread(number int) string {
	places := []string{
		"/registry/pods/", "/registry/secrets/", "/registry/apps/deployments/", "/registry/leases/", "plain/",
	}
	return fmt.Sprintf("%s%s/%03d", places[number%len(places)], l.name, number)
}

// each runs an action n times at once; the first failure is the caller's.
func (l *lab) each(n int, action func(number int)) {
	failures := make(chan any, n)
	var group sync.WaitGroup
	for number := range n {
		group.Go(func() {
			defer func() {
				if caught := recover(); caught != nil {
					failures <- describe(caught)
				}
			}()
			action(number)
		})
	}
	group.Wait()
	select {
	case caught := <-failures:
		panic(failure{caught.(string)})
	default:
	}
}

// next is one value of a channel, in time.
func next[T any](l *lab, what string, channel <-chan T) T {
	select {
	case value, open := <-channel:
		if !open {
			fail(what + ": the channel is closed")
		}
		return value
	case <-l.ctx.Done():
		fail("waited too long for " + what)
	}
	panic("never reached")
}

// events takes the next n events of a watch.
func (l *lab) events(channel clientv3.WatchChan, n int) []*clientv3.Event {
	var events []*clientv3.Event
	for len(events) < n {
		answer := next(l, fmt.Sprintf("event %d of %d", len(events)+1, n), channel)
		noError(answer.Err())
		events = append(events, answer.Events...)
	}
	same("the number of events", len(events), n)
	return events
}

func keysOf(kvs []*mvccpb.KeyValue) []string {
	keys := make([]string, len(kvs))
	for i, kv := range kvs {
		keys[i] = string(kv.Key)
	}
	return keys
}
