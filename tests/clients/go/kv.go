package main

import (
	"fmt"
	"slices"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/clientv3util"
)

func putGet(l *lab) {
	c := l.client()
	missing := must(c.Get(l.ctx, l.key("a")))
	same("the count of nothing", missing.Count, 0)
	first := must(c.Put(l.ctx, l.key("a"), "one"))
	second := must(c.Put(l.ctx, l.key("a"), "two", clientv3.WithPrevKV()))
	began, ended := first.Header.Revision, second.Header.Revision
	expect(ended > began, "the revision %d comes after %d", ended, began)
	same("the previous value", string(second.PrevKv.Value), "one")

	kv := must(c.Get(l.ctx, l.key("a"))).Kvs[0]
	same("the value", string(kv.Value), "two")
	same("the version", kv.Version, 2)
	same("the revision of creation", kv.CreateRevision, first.Header.Revision)
	same("the revision of the last change", kv.ModRevision, second.Header.Revision)

	old := must(c.Get(l.ctx, l.key("a"), clientv3.WithRev(first.Header.Revision)))
	same("the value of before", string(old.Kvs[0].Value), "one")
	expect(old.Header.Revision >= second.Header.Revision, "the header tells an old revision: %d", old.Header.Revision)
	serializable := must(c.Get(l.ctx, l.key("a"), clientv3.WithSerializable()))
	same("the value, serializable", string(serializable.Kvs[0].Value), "two")

	kept := must(c.Put(l.ctx, l.key("a"), "", clientv3.WithIgnoreValue()))
	kv = must(c.Get(l.ctx, l.key("a"))).Kvs[0]
	same("the value that was to be kept", string(kv.Value), "two")
	same("its revision", kv.ModRevision, kept.Header.Revision)
	binary := string([]byte{0, 0xff, 0x80, 0})
	must(c.Put(l.ctx, l.key("b")+binary, binary))
	same("a value that is no text", string(must(c.Get(l.ctx, l.key("b")+binary)).Kvs[0].Value), binary)
	l.saw("revisions %d to %d", first.Header.Revision, kept.Header.Revision)
}

func getOptions(l *lab) {
	c := l.client()
	var revisions []int64
	for _, name := range []string{"c", "a", "d", "b"} {
		revisions = append(revisions, must(c.Put(l.ctx, l.key("%s", name), strings.Repeat(name, 3))).Header.Revision)
	}
	get := func(options ...clientv3.OpOption) string {
		answer := must(c.Get(l.ctx, l.prefix(), append(options, clientv3.WithPrefix())...))
		return strings.ReplaceAll(strings.Join(keysOf(answer.Kvs), ""), l.prefix(), "")
	}
	same("by key", get(), "abcd")
	same("downwards", get(clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend)), "dcba")
	same("by revision", get(clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortAscend)), "cadb")
	same("by value", get(clientv3.WithSort(clientv3.SortByValue, clientv3.SortDescend), clientv3.WithLimit(2)), "dc")
	same("the last one", get(clientv3.WithLastCreate()...), "b")
	same("the first one", get(clientv3.WithFirstRev()...), "c")
	same("not older", get(clientv3.WithMinModRev(revisions[1]), clientv3.WithMaxModRev(revisions[2])), "ad")
	same("created before", get(clientv3.WithMaxCreateRev(revisions[1])), "ac")
	limited := must(c.Get(l.ctx, l.prefix(), clientv3.WithPrefix(), clientv3.WithLimit(3), clientv3.WithKeysOnly()))
	expect(limited.More, "there is more than the limit")
	same("the count beyond the limit", limited.Count, 4)
	same("the length of a value that was not asked for", len(limited.Kvs[0].Value), 0)
	counted := must(c.Get(l.ctx, l.prefix(), clientv3.WithPrefix(), clientv3.WithCountOnly()))
	same("the count", counted.Count, 4)
	same("the number of keys with it", len(counted.Kvs), 0)
	from := must(c.Get(l.ctx, l.key("c"), clientv3.WithFromKey(), clientv3.WithLimit(2)))
	same("from a key on", strings.Join(keysOf(from.Kvs), " "), l.key("c")+" "+l.key("d"))
	same("a range", must(c.Get(l.ctx, l.key("a"), clientv3.WithRange(l.key("c")))).Count, 2)
	l.saw("13 kinds of Get over 4 keys")
}

func deletes(l *lab) {
	c := l.client()
	for number := range 10 {
		must(c.Put(l.ctx, l.key("%d", number), "value"))
	}
	one := must(c.Delete(l.ctx, l.key("3"), clientv3.WithPrevKV()))
	same("the number of deleted keys", one.Deleted, 1)
	same("the deleted value", string(one.PrevKvs[0].Value), "value")
	none := must(c.Delete(l.ctx, l.key("3")))
	same("the number deleted of nothing", none.Deleted, 0)
	part := must(c.Delete(l.ctx, l.key("5"), clientv3.WithRange(l.key("7"))))
	same("the number in a range", part.Deleted, 2)
	rest := must(c.Delete(l.ctx, l.prefix(), clientv3.WithPrefix(), clientv3.WithPrevKV()))
	same("the number of the rest", rest.Deleted, 7)
	same("the number of previous ones", len(rest.PrevKvs), 7)
	again := must(c.Put(l.ctx, l.key("3"), "new"))
	kv := must(c.Get(l.ctx, l.key("3"))).Kvs[0]
	same("the version after a deletion", kv.Version, 1)
	same("the creation after a deletion", kv.CreateRevision, again.Header.Revision)
	l.saw("10 keys deleted by 3 requests")
}

func txn(l *lab) {
	c := l.client()
	key := l.key("a")
	created := must(c.Txn(l.ctx).If(clientv3util.KeyMissing(key)).Then(clientv3.OpPut(key, "one")).Commit())
	expect(created.Succeeded, "the key is missing, says nobody")
	holds := map[string]clientv3.Cmp{
		"value":    clientv3.Compare(clientv3.Value(key), "=", "one"),
		"version":  clientv3.Compare(clientv3.Version(key), "<", 2),
		"created":  clientv3.Compare(clientv3.CreateRevision(key), "=", created.Header.Revision),
		"modified": clientv3.Compare(clientv3.ModRevision(key), ">", created.Header.Revision-1),
		"lease":    clientv3.Compare(clientv3.LeaseValue(key), "=", clientv3.NoLease),
		"range":    clientv3.Compare(clientv3.Version(l.prefix()), "!=", 7).WithPrefix(),
		"exists":   clientv3util.KeyExists(key),
	}
	for name, comparison := range holds {
		expect(must(c.Txn(l.ctx).If(comparison).Commit()).Succeeded, "%s does not hold", name)
	}
	not := must(c.Txn(l.ctx).
		If(clientv3util.KeyExists(key), clientv3.Compare(clientv3.Value(key), ">", "one")).
		Then(clientv3.OpPut(key, "never")).
		Else(clientv3.OpGet(key), clientv3.OpGet(l.key("none"))).Commit())
	expect(!not.Succeeded, "one is not greater than one")
	same("the answer of Else", string(not.Responses[0].GetResponseRange().Kvs[0].Value), "one")
	same("the second answer of Else", len(not.Responses[1].GetResponseRange().Kvs), 0)

	var writes, reads []clientv3.Op
	for number := range 10 {
		writes = append(writes, clientv3.OpPut(l.spread(number), "both"))
		reads = append(reads, clientv3.OpGet(l.spread(number)))
	}
	wide := must(c.Txn(l.ctx).Then(slices.Concat(writes, reads)...).Commit())
	same("the number of answers", len(wide.Responses), 20)
	for _, answer := range wide.Responses[10:] {
		same("the revision of each of them", answer.GetResponseRange().Kvs[0].ModRevision, wide.Header.Revision)
	}
	l.saw("%d comparisons, 10 keys at revision %d", len(holds)+2, wide.Header.Revision)
}

func txnNested(l *lab) {
	c := l.client()
	must(c.Put(l.ctx, l.spread(0), "yes"))
	deepest := clientv3.OpTxn(
		[]clientv3.Cmp{clientv3.Compare(clientv3.Value(l.spread(1)), "=", "no such")},
		[]clientv3.Op{clientv3.OpPut(l.spread(2), "never")},
		[]clientv3.Op{clientv3.OpPut(l.spread(3), "deep"), clientv3.OpGet(l.spread(3))},
	)
	middle := clientv3.OpTxn(
		[]clientv3.Cmp{clientv3.Compare(clientv3.Value(l.spread(0)), "=", "yes")},
		[]clientv3.Op{clientv3.OpPut(l.spread(1), "middle"), deepest},
		[]clientv3.Op{clientv3.OpPut(l.spread(4), "never")},
	)
	answer := must(c.Txn(l.ctx).Then(middle, clientv3.OpDelete(l.spread(0))).Commit())
	inner := answer.Responses[0].GetResponseTxn()
	expect(inner.Succeeded, "the comparison in the middle fails")
	deep := inner.Responses[1].GetResponseTxn()
	expect(!deep.Succeeded, "the deepest comparison holds")
	same("a read behind a write", string(deep.Responses[1].GetResponseRange().Kvs[0].Value), "deep")
	same("the number deleted behind it", answer.Responses[1].GetResponseDeleteRange().Deleted, 1)
	for number, wanted := range []int64{0, 1, 0, 1, 0} {
		same(l.spread(number), must(c.Get(l.ctx, l.spread(number))).Count, wanted)
	}
	for _, number := range []int{1, 3} {
		same("the one revision", must(c.Get(l.ctx, l.spread(number))).Kvs[0].ModRevision, answer.Header.Revision)
	}
	l.saw("three levels at revision %d", answer.Header.Revision)
}

// pagination reads pages as kube-apiserver does: all at the revision of the first, while others write.
func pagination(l *lab) {
	c := l.client()
	const keys, limit = 257, 50
	l.each(8, func(worker int) {
		for number := worker; number < keys; number += 8 {
			must(c.Put(l.ctx, l.key("%03d", number), fmt.Sprintf("%03d", number)))
		}
	})
	var got []string
	var revision int64
	from, pages := l.prefix(), 0
	for more := true; more; pages++ {
		page := must(c.Get(l.ctx, from, clientv3.WithRange(clientv3.GetPrefixRangeEnd(l.prefix())),
			clientv3.WithLimit(limit), clientv3.WithRev(revision)))
		if revision == 0 {
			revision = page.Header.Revision
		}
		same("the count from here on", page.Count, int64(keys-len(got)))
		for _, kv := range page.Kvs {
			same("the value of "+string(kv.Key), l.key("%s", kv.Value), string(kv.Key))
			expect(kv.ModRevision <= revision, "%s is of the future", kv.Key)
		}
		got = append(got, keysOf(page.Kvs)...)
		more, from = page.More, got[len(got)-1]+"\x00"
		must(c.Delete(l.ctx, l.key("%03d", keys-1-pages)))
		must(c.Put(l.ctx, l.key("%03d", keys-2-2*pages), "changed"))
		must(c.Put(l.ctx, l.key("%03d-new", 25*pages), "new"))
	}
	same("the number of keys", len(got), keys)
	expect(slices.IsSorted(got), "they are not sorted")
	same("the number of different keys", len(slices.Compact(got)), keys)
	l.saw("%d keys in %d pages at revision %d", keys, pages, revision)
}

func stream(l *lab) {
	c := l.client()
	value := strings.Repeat("v", 20_000)
	l.each(4, func(worker int) {
		for number := worker; number < 200; number += 4 {
			must(c.Put(l.ctx, l.key("%03d", number), value))
		}
	})
	unary := must(c.Get(l.ctx, l.prefix(), clientv3.WithPrefix()))
	chunks := 0
	var got []string
	at := clientv3.WithRev(unary.Header.Revision)
	for chunk := range must(c.GetStream(l.ctx, l.prefix(), clientv3.WithPrefix(), at)) {
		noError(chunk.Err())
		chunks++
		got = append(got, keysOf(chunk.RangeResponse.Kvs)...)
	}
	expect(slices.Equal(got, keysOf(unary.Kvs)), "the stream has %d keys, Get has %d", len(got), len(unary.Kvs))
	same("the number of keys", len(got), 200)
	expect(chunks > 1, "4 MB came in %d answers", chunks)
	joined := must(clientv3.GetStreamToGetResponse(must(c.GetStream(l.ctx, l.prefix(), clientv3.WithPrefix()))))
	same("the count of the joined stream", joined.Count, 200)
	l.saw("200 keys in %d answers", chunks)
}
