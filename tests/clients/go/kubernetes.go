package main

import (
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/v3/kubernetes"
)

// kubernetesClient: the calls that kube-apiserver makes, by the library's own name for them.
func kubernetesClient(l *lab) {
	k := l.kubernetes()
	key := l.key("a")
	nothing := must(k.Get(l.ctx, key, kubernetes.GetOptions{}))
	expect(nothing.KV == nil, "there is a key: %v", nothing.KV)
	created := must(k.OptimisticPut(l.ctx, key, []byte("one"), 0, kubernetes.PutOptions{}))
	expect(created.Succeeded, "the key was there already")
	again := must(k.OptimisticPut(l.ctx, key, []byte("two"), 0, kubernetes.PutOptions{GetOnFailure: true}))
	expect(!again.Succeeded, "it was created twice")
	same("what is in the way", string(again.KV.Value), "one")
	same("since when", again.KV.ModRevision, created.Revision)
	tell := kubernetes.PutOptions{GetOnFailure: true}
	changed := must(k.OptimisticPut(l.ctx, key, []byte("two"), created.Revision, tell))
	expect(changed.Succeeded && changed.Revision > created.Revision, "changed at %d", changed.Revision)
	before := must(k.Get(l.ctx, key, kubernetes.GetOptions{Revision: created.Revision}))
	same("the value of before", string(before.KV.Value), "one")
	_, err := k.Get(l.ctx, key, kubernetes.GetOptions{Revision: changed.Revision + 1_000_000})
	isError(err, rpctypes.ErrFutureRev)

	stale := must(k.OptimisticDelete(l.ctx, key, created.Revision, kubernetes.DeleteOptions{GetOnFailure: true}))
	expect(!stale.Succeeded, "a stale deletion was done")
	same("what is there instead", string(stale.KV.Value), "two")
	deleted := must(k.OptimisticDelete(l.ctx, key, changed.Revision, kubernetes.DeleteOptions{}))
	expect(deleted.Succeeded && deleted.Revision > changed.Revision, "deleted at %d", deleted.Revision)
	late := must(k.OptimisticPut(l.ctx, key, []byte("three"), changed.Revision, tell))
	expect(!late.Succeeded && late.KV == nil, "a deleted key was changed: %v", late.KV)

	// Many change one object: each turn one wins, the others read what it wrote and try again.
	must(k.OptimisticPut(l.ctx, key, []byte("0"), 0, kubernetes.PutOptions{}))
	l.each(5, func(int) {
		for range 6 {
			read := must(k.Get(l.ctx, key, kubernetes.GetOptions{})).KV
			for done := false; !done; {
				var number int
				must(fmt.Sscan(string(read.Value), &number))
				put := must(k.OptimisticPut(l.ctx, key, []byte(fmt.Sprint(number+1)), read.ModRevision, tell))
				done, read = put.Succeeded, put.KV
			}
		}
	})
	same("the number of changes", string(must(k.Get(l.ctx, key, kubernetes.GetOptions{})).KV.Value), "30")
	l.saw("30 guarded changes by 5 writers, none lost")
}

func kubernetesList(l *lab) {
	k := l.kubernetes()
	const keys = 45
	for number := range keys {
		put := must(k.OptimisticPut(l.ctx, l.key("%02d", number), []byte("value"), 0, kubernetes.PutOptions{}))
		expect(put.Succeeded, "key %d was there already", number)
	}
	same("the count", must(k.Count(l.ctx, l.prefix(), kubernetes.CountOptions{})), keys)
	whole := must(k.List(l.ctx, l.prefix(), kubernetes.ListOptions{}))
	same("the length of the list", len(whole.Kvs), keys)
	must(k.OptimisticDelete(l.ctx, l.key("44"), whole.Kvs[44].ModRevision, kubernetes.DeleteOptions{}))
	var got []string
	for from := ""; len(got) < keys; from = got[len(got)-1] + "\x00" {
		page := must(k.List(l.ctx, l.prefix(), kubernetes.ListOptions{Revision: whole.Revision, Limit: 10, Continue: from}))
		same("the count from here on", page.Count, int64(keys-len(got)))
		got = append(got, keysOf(page.Kvs)...)
	}
	same("all pages", fmt.Sprint(got), fmt.Sprint(keysOf(whole.Kvs)))
	same("the count now", must(k.Count(l.ctx, l.prefix(), kubernetes.CountOptions{})), keys-1)
	l.saw("%d keys in 5 pages at revision %d", keys, whole.Revision)
}

func (l *lab) kubernetes() kubernetes.Interface {
	client := must(kubernetes.New(l.config()))
	l.later(func() { client.Close() })
	return client.Kubernetes
}
