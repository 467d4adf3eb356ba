package main

import (
	"fmt"
	"io"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func maintenance(l *lab) {
	c := l.client()
	put := must(c.Put(l.ctx, l.key("a"), "one"))
	status := must(c.Status(l.ctx, l.endpoint))
	expect(strings.HasPrefix(status.Version, "3.7."), "the version is %s", status.Version)
	expect(status.Header.Revision >= put.Header.Revision, "the status is of revision %d", status.Header.Revision)
	size, used := status.DbSize, status.DbSizeInUse
	expect(size > 0 && used <= size, "the size is %d, %d of it in use", size, used)
	expect(len(status.Errors) == 0, "it has errors: %v", status.Errors)

	members := must(c.MemberList(l.ctx))
	same("the number of members", len(members.Members), 1)
	member := members.Members[0]
	same("the member's number", member.ID, status.Header.MemberId)
	same("the leader", status.Leader, member.ID)
	same("the address that it tells", fmt.Sprint(member.ClientURLs), "["+l.endpoint+"]")
	noError(c.Sync(l.ctx))
	same("the addresses after Sync", fmt.Sprint(c.Endpoints()), "["+l.endpoint+"]")
	same("the number of alarms", len(must(c.AlarmList(l.ctx)).Alarms), 0)
	expect(!must(c.AuthStatus(l.ctx)).Enabled, "users and roles are on")

	revision := put.Header.Revision
	first := must(c.HashKV(l.ctx, l.endpoint, revision))
	must(c.Put(l.ctx, l.key("a"), "two"))
	same("the same revision's hash, later", must(c.HashKV(l.ctx, l.endpoint, revision)).Hash, first.Hash)
	now := must(c.HashKV(l.ctx, l.endpoint, 0))
	expect(now.Hash != first.Hash, "two revisions have the hash %d", now.Hash)
	must(c.Defragment(l.ctx, l.endpoint))
	same("the value behind it", string(must(c.Get(l.ctx, l.key("a"))).Kvs[0].Value), "two")
	l.saw("version %s, member %x, hash %x at %d", status.Version, member.ID, first.Hash, revision)
}

// snapshot: the library checks nothing of its content, the length of the parts must fit what is read.
func snapshot(l *lab) {
	c := l.client()
	must(c.Put(l.ctx, l.key("a"), strings.Repeat("snapshot", 1000)))
	taken := must(c.SnapshotWithVersion(l.ctx))
	defer taken.Snapshot.Close()
	expect(strings.HasPrefix(taken.Version, "3.7"), "it is of version %s", taken.Version)
	length := must(io.Copy(io.Discard, taken.Snapshot))
	expect(length >= 8000, "it has %d bytes", length)
	older := must(c.Snapshot(l.ctx))
	defer older.Close()
	expect(len(must(io.ReadAll(older))) >= 8000, "the other one is shorter")
	l.saw("%d bytes of version %s", length, taken.Version)
}

func errorTypes(l *lab) {
	c := l.client()
	key := l.key("a")
	now := must(c.Put(l.ctx, key, "one")).Header.Revision
	many := make([]clientv3.Op, 129)
	for number := range many {
		many[number] = clientv3.OpPut(l.key("%d", number), "")
	}
	lease := must(c.Grant(l.ctx, 60)).ID
	put := func(key, value string, options ...clientv3.OpOption) func() error {
		return func() error { _, err := c.Put(l.ctx, key, value, options...); return err }
	}
	commit := func(operations ...clientv3.Op) func() error {
		return func() error { _, err := c.Txn(l.ctx).Then(operations...).Commit(); return err }
	}
	type call struct {
		wanted error
		run    func() error
	}
	calls := []call{
		{rpctypes.ErrFutureRev, func() error { _, err := c.Get(l.ctx, key, clientv3.WithRev(now+1_000_000)); return err }},
		{rpctypes.ErrFutureRev, func() error { _, err := c.Compact(l.ctx, now+1_000_000); return err }},
		{rpctypes.ErrEmptyKey, put("", "value")},
		{rpctypes.ErrEmptyKey, func() error { _, err := c.Get(l.ctx, ""); return err }},
		{rpctypes.ErrEmptyKey, func() error { _, err := c.Delete(l.ctx, ""); return err }},
		{rpctypes.ErrKeyNotFound, put(l.key("none"), "", clientv3.WithIgnoreValue())},
		{rpctypes.ErrValueProvided, put(key, "value", clientv3.WithIgnoreValue())},
		{rpctypes.ErrLeaseProvided, put(key, "value", clientv3.WithIgnoreLease(), clientv3.WithLease(lease))},
		{rpctypes.ErrLeaseNotFound, put(key, "value", clientv3.WithLease(12345))},
		{rpctypes.ErrLeaseNotFound, func() error { _, err := c.Revoke(l.ctx, 12345); return err }},
		{rpctypes.ErrLeaseNotFound, func() error { _, err := c.KeepAliveOnce(l.ctx, 12345); return err }},
		{rpctypes.ErrLeaseTTLTooLarge, func() error { _, err := c.Grant(l.ctx, 10_000_000_000); return err }},
		{rpctypes.ErrTooManyOps, commit(many...)},
		{rpctypes.ErrDuplicateKey, commit(clientv3.OpPut(key, "a"), clientv3.OpPut(key, "b"))},
		{rpctypes.ErrDuplicateKey, commit(clientv3.OpPut(key, "a"), clientv3.OpDelete(l.prefix(), clientv3.WithPrefix()))},
		{rpctypes.ErrRequestTooLarge, put(key, strings.Repeat("v", 1_600_000))},
	}
	for _, one := range calls {
		isError(one.run(), one.wanted)
	}
	kv := must(c.Get(l.ctx, l.prefix(), clientv3.WithPrefix())).Kvs
	same("the number of keys", len(kv), 1)
	same("the revision of the key that nothing changed", kv[0].ModRevision, now)
	l.saw("%d refusals, nothing changed", len(calls))
}

// compaction takes the past of all keys, hence it runs alone.
func compaction(l *lab) {
	c := l.client()
	first := must(c.Put(l.ctx, l.key("a"), "one")).Header.Revision
	middle := must(c.Put(l.ctx, l.key("a"), "two")).Header.Revision
	last := must(c.Put(l.ctx, l.key("a"), "three")).Header.Revision
	must(c.Compact(l.ctx, middle, clientv3.WithCompactPhysical()))

	_, err := c.Get(l.ctx, l.key("a"), clientv3.WithRev(first))
	isError(err, rpctypes.ErrCompacted)
	_, err = c.Compact(l.ctx, middle)
	isError(err, rpctypes.ErrCompacted)
	_, err = c.HashKV(l.ctx, l.endpoint, first)
	isError(err, rpctypes.ErrCompacted)
	kept := must(c.Get(l.ctx, l.key("a"), clientv3.WithRev(middle)))
	same("the value at the revision itself", string(kept.Kvs[0].Value), "two")
	channel := c.Watch(l.ctx, l.key("a"), clientv3.WithRev(first))
	refused := next(l, "the refusal", channel)
	isError(refused.Err(), rpctypes.ErrCompacted)
	same("the revision that it tells", refused.CompactRevision, middle)
	expect(refused.Canceled, "the watch goes on")
	_, open := <-channel
	expect(!open, "a refused watch gives more")
	events := l.events(c.Watch(l.ctx, l.key("a"), clientv3.WithRev(middle)), 2)
	same("the last event", events[1].Kv.ModRevision, last)
	l.saw("compacted at %d", middle)
}
