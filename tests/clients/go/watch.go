package main

import (
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func watchPrefix(l *lab) {
	c := l.client()
	before := must(c.Put(l.ctx, l.key("old"), "before"))
	channel := c.Watch(l.ctx, l.prefix(), clientv3.WithPrefix(), clientv3.WithPrevKV(), clientv3.WithCreatedNotify())
	created := next(l, "the watch", channel)
	expect(created.Created, "the first answer is not that it was created")
	expect(created.Header.Revision >= before.Header.Revision, "created at %d", created.Header.Revision)

	first := must(c.Put(l.ctx, l.key("new"), "one"))
	must(c.Put(l.ctx, l.key("old"), "after"))
	must(c.Put(l.ctx, l.prefix()[:len(l.prefix())-1], "beside"))
	both := must(c.Txn(l.ctx).Then(clientv3.OpPut(l.key("x"), "x"), clientv3.OpDelete(l.key("new"))).Commit())

	events := l.events(channel, 4)
	expect(events[0].IsCreate() && events[0].PrevKv == nil, "the first is no creation: %v", events[0])
	same("its revision", events[0].Kv.ModRevision, first.Header.Revision)
	expect(events[1].IsModify(), "the second is no change: %v", events[1])
	same("what was before", string(events[1].PrevKv.Value), "before")
	same("what is now", string(events[1].Kv.Value), "after")
	kinds := map[string]*clientv3.Event{string(events[2].Kv.Key): events[2], string(events[3].Kv.Key): events[3]}
	for _, key := range []string{l.key("x"), l.key("new")} {
		expect(kinds[key] != nil, "no event of %s", key)
		same("the revision of "+key, kinds[key].Kv.ModRevision, both.Header.Revision)
	}
	gone := kinds[l.key("new")]
	same("the kind", gone.Type, clientv3.EventTypeDelete)
	same("what was deleted", string(gone.PrevKv.Value), "one")
	l.saw("creation, change, deletion; two events at revision %d", both.Header.Revision)
}

func watchFilters(l *lab) {
	c := l.client()
	from := must(c.Put(l.ctx, l.key("a"), "one")).Header.Revision
	must(c.Delete(l.ctx, l.key("a")))
	last := must(c.Put(l.ctx, l.key("a"), "two")).Header.Revision
	must(c.Delete(l.ctx, l.key("a")))
	puts := l.events(c.Watch(l.ctx, l.key("a"), clientv3.WithRev(from), clientv3.WithFilterDelete()), 2)
	same("the revision of the second put", puts[1].Kv.ModRevision, last)
	deleted := l.events(c.Watch(l.ctx, l.key("a"), clientv3.WithRev(from), clientv3.WithFilterPut()), 2)
	for _, event := range deleted {
		same("the kind", event.Type, clientv3.EventTypeDelete)
		same("the length of a deleted value", len(event.Kv.Value), 0)
	}
	expect(deleted[0].Kv.ModRevision < last && last < deleted[1].Kv.ModRevision, "not in order: %v", deleted)
	l.saw("2 puts without deletions, 2 deletions without puts")
}

// watchProgress: after the answer to a progress request at revision r no event up to r comes any more.
func watchProgress(l *lab) {
	c, writer := l.client(), l.client()
	channel := c.Watch(l.ctx, l.prefix(), clientv3.WithPrefix(), clientv3.WithProgressNotify(),
		clientv3.WithCreatedNotify())
	next(l, "the watch", channel)
	const writes = 100
	done := make(chan struct{})
	l.later(func() { <-done })
	go func() {
		defer close(done)
		for number := range writes {
			if _, err := writer.Put(l.ctx, l.key("%d", number), "value"); err != nil {
				return // the events that are missing then tell
			}
		}
	}()
	var told, last int64
	seen, answers := 0, 0
	noError(c.RequestProgress(l.ctx))
	for seen < writes || told < last {
		answer := next(l, fmt.Sprintf("more than %d events and %d answers", seen, answers), channel)
		noError(answer.Err())
		if answer.IsProgressNotify() {
			expect(answer.Header.Revision >= max(told, last), "told %d after %d and %d", answer.Header.Revision, told, last)
			told = answer.Header.Revision
			answers++
			noError(c.RequestProgress(l.ctx))
		}
		for _, event := range answer.Events {
			expect(event.Kv.ModRevision > told, "an event at %d after progress to %d", event.Kv.ModRevision, told)
			last = event.Kv.ModRevision
			seen++
		}
	}
	l.saw("%d events, %d answers about progress", seen, answers)
}

// watchFragment: the events of one revision do not fit one message; the library joins the parts.
func watchFragment(l *lab) {
	c := l.client()
	value := strings.Repeat("f", 60_000)
	var puts []clientv3.Op
	for number := range 20 {
		puts = append(puts, clientv3.OpPut(l.key("%02d", number), value))
	}
	must(c.Txn(l.ctx).Then(puts...).Commit())
	channel := c.Watch(l.ctx, l.prefix(), clientv3.WithPrefix(), clientv3.WithPrevKV(), clientv3.WithFragment(),
		clientv3.WithCreatedNotify())
	next(l, "the watch", channel)
	revision := must(c.Txn(l.ctx).Then(puts...).Commit()).Header.Revision
	answer := next(l, "the events", channel)
	noError(answer.Err())
	same("the number of events", len(answer.Events), 20)
	for number, event := range answer.Events {
		same("the key", string(event.Kv.Key), l.key("%02d", number))
		same("the revision", event.Kv.ModRevision, revision)
		same("the length", len(event.Kv.Value)+len(event.PrevKv.Value), 120_000)
	}
	l.saw("2.4 MB of 20 events as one answer")
}

// watchHistory: a watch may begin in the past and in the future.
func watchHistory(l *lab) {
	c := l.client()
	var revisions []int64
	for number := range 30 {
		revisions = append(revisions, must(c.Put(l.ctx, l.spread(number%5), fmt.Sprint(number))).Header.Revision)
	}
	future := c.Watch(l.ctx, l.spread(0), clientv3.WithRev(revisions[29]+200))
	for _, begin := range []int{0, 13, 29} {
		channel := c.Watch(l.ctx, "/registry/", clientv3.WithRange("plain0"), clientv3.WithRev(revisions[begin]))
		number := begin
		for number < 30 {
			answer := next(l, fmt.Sprintf("event %d from event %d on", number, begin), channel)
			noError(answer.Err())
			for _, event := range answer.Events {
				if strings.Contains(string(event.Kv.Key), "/"+l.name+"/") {
					same("the value", string(event.Kv.Value), fmt.Sprint(number))
					same("the revision", event.Kv.ModRevision, revisions[number])
					number++
				}
			}
		}
	}
	for revision := revisions[29]; revision < revisions[29]+200; {
		revision = must(c.Put(l.ctx, l.spread(0), "early")).Header.Revision
	}
	late := must(c.Put(l.ctx, l.spread(0), "late")).Header.Revision
	first := next(l, "the event of the future", future).Events[0]
	expect(first.Kv.ModRevision >= revisions[29]+200, "an event of before: %d", first.Kv.ModRevision)
	expect(first.Kv.ModRevision <= late, "an event was left out: %d is the first", first.Kv.ModRevision)
	l.saw("30 events, 18 of them from the middle, one 200 revisions later")
}

// watchMany: the library carries all watches of one client over one stream.
func watchMany(l *lab) {
	c := l.client()
	const watches = 200
	var channels []clientv3.WatchChan
	for number := range watches {
		channels = append(channels, c.Watch(l.ctx, l.key("%03d", number), clientv3.WithCreatedNotify()))
	}
	for number, channel := range channels {
		expect(next(l, fmt.Sprintf("watch %d", number), channel).Created, "watch %d was not created", number)
	}
	for first := 0; first < watches; first += 50 {
		var puts []clientv3.Op
		for number := first; number < first+50; number++ {
			puts = append(puts, clientv3.OpPut(l.key("%03d", number), fmt.Sprint(number)))
		}
		must(c.Txn(l.ctx).Then(puts...).Commit())
	}
	for number, channel := range channels {
		event := l.events(channel, 1)[0]
		same("the key", string(event.Kv.Key), l.key("%03d", number))
		same("the value", string(event.Kv.Value), fmt.Sprint(number))
	}
	l.saw("%d watches on one stream, each with its own event", watches)
}
