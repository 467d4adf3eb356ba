package main

import (
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func leaseCycle(l *lab) {
	c := l.client()
	lease := must(c.Grant(l.ctx, 60))
	same("the time to live", lease.TTL, 60)
	other := must(c.Grant(l.ctx, 60))
	expect(lease.ID != other.ID && lease.ID != 0, "the leases %x and %x", lease.ID, other.ID)
	channel := c.Watch(l.ctx, l.prefix(), clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	next(l, "the watch", channel)
	for number := range 5 {
		must(c.Put(l.ctx, l.spread(number), "value", clientv3.WithLease(lease.ID)))
	}
	must(c.Put(l.ctx, l.key("moved"), "value", clientv3.WithLease(lease.ID)))
	must(c.Put(l.ctx, l.key("moved"), "value", clientv3.WithLease(other.ID)))
	must(c.Put(l.ctx, l.key("kept"), "value", clientv3.WithLease(lease.ID)))
	must(c.Put(l.ctx, l.key("kept"), "changed", clientv3.WithIgnoreLease()))

	left := must(c.TimeToLive(l.ctx, lease.ID, clientv3.WithAttachedKeys()))
	expect(left.TTL > 50 && left.TTL <= 60, "%d seconds are left", left.TTL)
	same("the granted time", left.GrantedTTL, 60)
	same("the number of keys", len(left.Keys), 6)
	known := 0
	for _, one := range must(c.Leases(l.ctx)).Leases {
		if one.ID == lease.ID || one.ID == other.ID {
			known++
		}
	}
	same("the number of known leases", known, 2)

	revoked := must(c.Revoke(l.ctx, lease.ID))
	for number := range 5 {
		same("what is left of a key", must(c.Get(l.ctx, l.spread(number))).Count, 0)
	}
	same("what is left on the other lease", must(c.Get(l.ctx, l.key("moved"))).Count, 1)
	events := l.events(channel, 7) // of the six keys two are below the prefix: kept, and the first of spread
	for _, event := range events[5:] {
		same("the kind", event.Type, clientv3.EventTypeDelete)
		same("the revision", event.Kv.ModRevision, revoked.Header.Revision)
	}
	same("the time left to a revoked one", must(c.TimeToLive(l.ctx, lease.ID)).TTL, -1)
	l.saw("lease %x: 6 keys deleted at revision %d", lease.ID, revoked.Header.Revision)
}

func leaseExpiry(l *lab) {
	c := l.client()
	channel := c.Watch(l.ctx, l.prefix(), clientv3.WithPrefix(), clientv3.WithPrevKV(), clientv3.WithCreatedNotify())
	next(l, "the watch", channel)
	lease := must(c.Grant(l.ctx, 2))
	began := time.Now()
	must(c.Put(l.ctx, l.key("a"), "mortal", clientv3.WithLease(lease.ID)))
	events := l.events(channel, 2)
	lived := time.Since(began)
	same("the kind", events[1].Type, clientv3.EventTypeDelete)
	same("the lease of what was deleted", events[1].PrevKv.Lease, int64(lease.ID))
	expect(lived > 1500*time.Millisecond && lived < 8*time.Second, "it lived %v", lived)
	_, err := c.KeepAliveOnce(l.ctx, lease.ID)
	isError(err, rpctypes.ErrLeaseNotFound)
	ended := must(c.KeepAlive(l.ctx, lease.ID))
	for range ended { // a lease that is gone closes its channel
	}
	l.saw("2 s became %.1f s", lived.Seconds())
}

func leaseKeepAlive(l *lab) {
	c := l.client()
	lease := must(c.Grant(l.ctx, 2))
	must(c.Put(l.ctx, l.key("a"), "kept", clientv3.WithLease(lease.ID)))
	began := time.Now()
	channel := must(c.KeepAlive(l.ctx, lease.ID))
	answers := 0
	for time.Since(began) < 3500*time.Millisecond {
		same("the time to live", next(l, "a sign of life", channel).TTL, 2)
		answers++
	}
	same("the count of the key", must(c.Get(l.ctx, l.key("a"))).Count, 1)
	same("the time to live, once", must(c.KeepAliveOnce(l.ctx, lease.ID)).TTL, 2)
	l.saw("a lease of 2 s lived %.1f s by %d signs of life", time.Since(began).Seconds(), answers)
}
