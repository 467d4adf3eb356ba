package main

import (
	"context"
	"fmt"
	"maps"
	"sync/atomic"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/leasing"
	"go.etcd.io/etcd/client/v3/mirror"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.etcd.io/etcd/client/v3/naming/endpoints"
	"go.etcd.io/etcd/client/v3/naming/resolver"
	"go.etcd.io/etcd/client/v3/ordering"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// namespaced: a part of the keyspace looks like the whole of it.
func namespaced(l *lab) {
	plain, inside := l.client(), l.client()
	inside.KV = namespace.NewKV(inside.KV, l.prefix())
	inside.Watcher = namespace.NewWatcher(inside.Watcher, l.prefix())
	inside.Lease = namespace.NewLease(inside.Lease, l.prefix())
	must(plain.Put(l.ctx, l.prefix()[:len(l.prefix())-1]+"0", "outside"))

	channel := inside.Watch(l.ctx, "", clientv3.WithFromKey(), clientv3.WithPrevKV(), clientv3.WithCreatedNotify())
	next(l, "the watch", channel)
	lease := must(inside.Grant(l.ctx, 60))
	must(inside.Put(l.ctx, "a", "one", clientv3.WithLease(lease.ID)))
	same("the value below the prefix", string(must(plain.Get(l.ctx, l.key("a"))).Kvs[0].Value), "one")
	done := must(inside.Txn(l.ctx).If(clientv3.Compare(clientv3.Value("a"), "=", "one")).
		Then(clientv3.OpPut("b", "two"), clientv3.OpGet("", clientv3.WithFromKey())).Commit())
	expect(done.Succeeded, "the comparison fails inside")
	all := keysOf(must(inside.Get(l.ctx, "", clientv3.WithFromKey())).Kvs)
	same("all keys", fmt.Sprint(all), "[a b]")
	same("how many of them the transaction saw", len(done.Responses[1].GetResponseRange().Kvs), 2)
	attached := must(inside.TimeToLive(l.ctx, lease.ID, clientv3.WithAttachedKeys())).Keys
	same("the key of the lease", string(attached[0]), "a")
	must(inside.Revoke(l.ctx, lease.ID))
	events := l.events(channel, 3)
	same("the last event's key", string(events[2].Kv.Key), "a")
	same("what was deleted", string(events[2].PrevKv.Key), "a")
	l.saw("%d events without the prefix", len(events))
}

// ordered: with one store no answer is older than the one before, also not of a serializable read.
func ordered(l *lab) {
	c := l.client()
	violations := atomic.Int32{}
	kv := ordering.NewKV(c.KV, func(op clientv3.Op, _ clientv3.OpResponse, before int64) error {
		violations.Add(1)
		return fmt.Errorf("an answer is older than %d", before)
	})
	l.each(4, func(worker int) {
		for turn := range 50 {
			if worker == 0 {
				must(kv.Put(l.ctx, l.spread(turn%5), fmt.Sprint(turn)))
				continue
			}
			var options []clientv3.OpOption
			if worker == 1 {
				options = append(options, clientv3.WithSerializable())
			}
			must(kv.Get(l.ctx, l.spread(turn%5), options...))
			must(kv.Txn(l.ctx).Then(clientv3.OpGet(l.spread(turn % 5))).Commit())
		}
	})
	same("the number of violations", violations.Load(), 0)
	l.saw("300 reads beside 50 writes")
}

// leased: one client keeps a key for itself and reads it from memory; the other's write takes it away first.
func leased(l *lab) {
	plain := l.client()
	one, closeOne, err := leasing.NewKV(l.client(), l.key("leasing/"))
	noError(err)
	l.later(closeOne)
	two, closeTwo, err := leasing.NewKV(l.client(), l.key("leasing/"))
	noError(err)
	l.later(closeTwo)
	must(plain.Put(l.ctx, l.key("a"), "0"))
	same("the value", string(must(one.Get(l.ctx, l.key("a"))).Kvs[0].Value), "0")
	same("who has it", must(plain.Get(l.ctx, l.key("leasing/")+l.key("a"))).Count, 1)
	for turn := 1; turn <= 10; turn++ {
		writer, reader := one, two
		if turn%2 == 1 {
			writer, reader = two, one
		}
		same("the value in memory", string(must(reader.Get(l.ctx, l.key("a"))).Kvs[0].Value), fmt.Sprint(turn-1))
		must(writer.Put(l.ctx, l.key("a"), fmt.Sprint(turn)))
		same("the value for the reader", string(must(reader.Get(l.ctx, l.key("a"))).Kvs[0].Value), fmt.Sprint(turn))
	}
	done := must(one.Txn(l.ctx).If(clientv3.Compare(clientv3.Value(l.key("a")), "=", "10")).
		Then(clientv3.OpPut(l.key("a"), "eleven")).Else(clientv3.OpPut(l.key("a"), "lost")).Commit())
	expect(done.Succeeded, "the comparison fails")
	same("the value after all", string(must(two.Get(l.ctx, l.key("a"))).Kvs[0].Value), "eleven")
	must(two.Delete(l.ctx, l.key("a")))
	same("the count after the deletion", len(must(one.Get(l.ctx, l.key("a"))).Kvs), 0)
	l.saw("12 writes, each seen by the other client")
}

// mirrored: what was there and then each change makes a copy that is the same at a revision.
func mirrored(l *lab) {
	c := l.client()
	for number := range 40 {
		must(c.Put(l.ctx, l.key("%d", number), "base"))
	}
	syncer := mirror.NewSyncer(l.client(), l.prefix(), 0)
	copied := map[string]string{}
	base, failures := syncer.SyncBase(l.ctx)
	must(c.Delete(l.ctx, l.key("7")))
	for answer := range base {
		for _, kv := range answer.Kvs {
			copied[string(kv.Key)] = string(kv.Value)
		}
	}
	for err := range failures {
		noError(err)
	}
	expect(len(copied) >= 39, "the base has %d keys", len(copied))
	updates := syncer.SyncUpdates(l.ctx)
	for number := range 20 {
		must(c.Put(l.ctx, l.key("%d", 30+number), fmt.Sprint(number)))
	}
	last := must(c.Delete(l.ctx, l.key("9"))).Header.Revision
	for at := int64(0); at < last; {
		answer := next(l, "an update", updates)
		noError(answer.Err())
		for _, event := range answer.Events {
			at = event.Kv.ModRevision
			copied[string(event.Kv.Key)] = string(event.Kv.Value)
			if event.Type == clientv3.EventTypeDelete {
				delete(copied, string(event.Kv.Key))
			}
		}
	}
	wanted := map[string]string{}
	for _, kv := range must(c.Get(l.ctx, l.prefix(), clientv3.WithPrefix())).Kvs {
		wanted[string(kv.Key)] = string(kv.Value)
	}
	expect(maps.Equal(copied, wanted), "the copy %v is not %v", copied, wanted)
	same("the number of keys", len(copied), 48)
	l.saw("%d keys at revision %d", len(copied), last)
}

// naming: gRPC finds a service by its name in the store; the service here is the store itself.
func naming(l *lab) {
	c := l.client()
	manager := must(endpoints.NewManager(c, "clients/naming"))
	channel := must(manager.NewWatchChannel(l.ctx))
	address := l.endpoint[len("http://"):]
	noError(manager.AddEndpoint(l.ctx, "clients/naming/one", endpoints.Endpoint{Addr: address, Metadata: "first"}))
	update := next(l, "the update", channel)[0]
	same("the update's address", update.Endpoint.Addr, address)
	same("the number of endpoints", len(must(manager.List(l.ctx))), 1)

	builder := must(resolver.NewBuilder(c))
	connection := must(grpc.NewClient("etcd:///clients/naming", grpc.WithResolvers(builder),
		grpc.WithTransportCredentials(insecure.NewCredentials())))
	defer connection.Close()
	ctx, cancel := context.WithCancel(l.ctx)
	defer cancel()
	request := &pb.RangeRequest{Key: []byte("clients/naming/one")}
	answer := must(pb.NewKVClient(connection).Range(ctx, request, grpc.WaitForReady(true)))
	same("the count over the found address", answer.Count, 1)
	noError(manager.DeleteEndpoint(l.ctx, "clients/naming/one"))
	same("the operation", next(l, "the second update", channel)[0].Op, endpoints.Delete)
	l.saw("%s was found by its name", address)
}
