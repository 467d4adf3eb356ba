import static io.etcd.jetcd.op.Cmp.Op.EQUAL;
import static io.etcd.jetcd.op.Cmp.Op.GREATER;
import static io.etcd.jetcd.op.Cmp.Op.LESS;

import io.etcd.jetcd.ByteSequence;
import io.etcd.jetcd.Client;
import io.etcd.jetcd.KV;
import io.etcd.jetcd.KeyValue;
import io.etcd.jetcd.Lease;
import io.etcd.jetcd.Watch;
import io.etcd.jetcd.common.exception.CompactedException;
import io.etcd.jetcd.kv.GetResponse;
import io.etcd.jetcd.kv.TxnResponse;
import io.etcd.jetcd.lease.LeaseKeepAliveResponse;
import io.etcd.jetcd.maintenance.StatusResponse;
import io.etcd.jetcd.op.Cmp;
import io.etcd.jetcd.op.CmpTarget;
import io.etcd.jetcd.op.Op;
import io.etcd.jetcd.options.CompactOption;
import io.etcd.jetcd.options.DeleteOption;
import io.etcd.jetcd.options.GetOption;
import io.etcd.jetcd.options.LeaseOption;
import io.etcd.jetcd.options.PutOption;
import io.etcd.jetcd.options.WatchOption;
import io.etcd.jetcd.support.CloseableClient;
import io.etcd.jetcd.support.Observers;
import io.etcd.jetcd.watch.WatchEvent;
import io.etcd.jetcd.watch.WatchEvent.EventType;
import io.grpc.Status;
import java.io.ByteArrayOutputStream;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.LinkedBlockingQueue;

/** What needs no restart: keys, transactions, watches, leases, maintenance. */
final class Scenarios {
  private Scenarios() {}

  static String putGet(Lab lab) throws Exception {
    KV kv = lab.client().getKVClient();
    ByteSequence key = lab.key("a");
    long first = Lab.get(kv.put(key, Lab.bytes("one"))).getHeader().getRevision();
    var second = Lab.get(kv.put(key, Lab.bytes("two"), PutOption.builder().withPrevKV().build()));
    Lab.same("the value before", second.getPrevKv().getValue().toString(), "one");
    KeyValue now = Lab.get(kv.get(key)).getKvs().get(0);
    Lab.same("the version", now.getVersion(), 2L);
    Lab.same("created at", now.getCreateRevision(), first);
    Lab.same("changed at", now.getModRevision(), second.getHeader().getRevision());
    GetResponse old = Lab.get(kv.get(key, GetOption.builder().withRevision(first).build()));
    Lab.same("the value of before", old.getKvs().get(0).getValue().toString(), "one");
    for (int number = 0; number < 25; number++) {
      Lab.get(kv.put(lab.key(String.format("page/%02d", number)), Lab.bytes("value")));
    }
    List<String> pages = new ArrayList<>();
    long revision = 0;
    ByteSequence from = lab.key("page/");
    ByteSequence end = lab.key("page0");
    for (boolean more = true; more;) {
      GetResponse page = Lab.get(kv.get(from,
          GetOption.builder().withRange(end).withLimit(10).withRevision(revision).build()));
      revision = revision == 0 ? page.getHeader().getRevision() : revision;
      Lab.same("the count from here on", page.getCount(), 25L - pages.size());
      page.getKvs().forEach(row -> pages.add(row.getKey().toString()));
      more = page.isMore();
      from = Lab.bytes(pages.get(pages.size() - 1) + "\0");
      Lab.get(kv.put(lab.key("page/" + pages.size() + "-new"), Lab.bytes("late")));
    }
    Lab.same("the number of keys of the pages", pages.size(), 25);
    var deleted = Lab.get(kv.delete(lab.key(""), DeleteOption.builder().isPrefix(true).withPrevKV(true).build()));
    Lab.same("deleted in the end", deleted.getDeleted(), (long) deleted.getPrevKvs().size());
    Lab.same("deleted keys", deleted.getDeleted(), 29L);
    return "25 keys in pages at revision " + revision;
  }

  static String txn(Lab lab) throws Exception {
    KV kv = lab.client().getKVClient();
    ByteSequence a = lab.key("a");
    ByteSequence b = Lab.bytes("/registry/secrets/java-txn/b");
    long created = Lab.get(kv.put(a, Lab.bytes("one"))).getHeader().getRevision();
    TxnResponse done = Lab.get(kv.txn()
        .If(new Cmp(a, EQUAL, CmpTarget.value(Lab.bytes("one"))), new Cmp(a, LESS, CmpTarget.version(2)),
            new Cmp(a, EQUAL, CmpTarget.createRevision(created)), new Cmp(a, GREATER, CmpTarget.modRevision(0)),
            new Cmp(b, EQUAL, CmpTarget.version(0)))
        .Then(Op.put(a, Lab.bytes("two"), PutOption.DEFAULT),
            Op.txn(new Cmp[] {new Cmp(a, EQUAL, CmpTarget.value(Lab.bytes("one")))},
                new Op[] {Op.put(b, Lab.bytes("nested"), PutOption.DEFAULT)}, new Op[0]),
            Op.get(a, GetOption.DEFAULT))
        .Else(Op.delete(a, DeleteOption.DEFAULT)).commit());
    Lab.expect(done.isSucceeded(), "the comparisons fail");
    Lab.same("a read behind a write", value(done.getGetResponses().get(0)), "two");
    boolean nested = done.getTxnResponses().get(0).isSucceeded();
    Lab.expect(nested, "a nested comparison sees the writes of its own transaction");
    Lab.same("their one revision", Lab.get(kv.get(a)).getKvs().get(0).getModRevision(),
        Lab.get(kv.get(b)).getKvs().get(0).getModRevision());
    TxnResponse not = Lab.get(kv.txn().If(new Cmp(a, GREATER, CmpTarget.value(Lab.bytes("two"))))
        .Then(Op.put(a, Lab.bytes("never"), PutOption.DEFAULT))
        .Else(Op.get(a, GetOption.DEFAULT), Op.delete(b, DeleteOption.DEFAULT)).commit());
    Lab.expect(!not.isSucceeded(), "two is greater than two");
    Lab.same("the answer of the other branch", value(not.getGetResponses().get(0)), "two");
    Lab.same("deleted there", not.getDeleteResponses().get(0).getDeleted(), 1L);
    return "two keys at revision " + done.getHeader().getRevision();
  }

  private static String value(GetResponse answer) {
    return answer.getKvs().get(0).getValue().toString();
  }

  static String watch(Lab lab) throws Exception {
    Client client = lab.client();
    KV kv = client.getKVClient();
    long start = Lab.get(kv.put(lab.key("a"), Lab.bytes("one"))).getHeader().getRevision();
    Lab.get(kv.put(lab.key("a"), Lab.bytes("two")));
    BlockingQueue<WatchEvent> events = new LinkedBlockingQueue<>();
    BlockingQueue<WatchEvent> deletions = new LinkedBlockingQueue<>();
    WatchOption all = WatchOption.builder().isPrefix(true).withRevision(start).withPrevKV(true).build();
    WatchOption some = WatchOption.builder().withRevision(start).withNoPut(true).build();
    try (Watch.Watcher one = client.getWatchClient().watch(lab.key(""), all,
            answer -> events.addAll(answer.getEvents()));
        Watch.Watcher other = client.getWatchClient().watch(lab.key("a"), some,
            answer -> deletions.addAll(answer.getEvents()))) {
      Lab.get(kv.delete(lab.key("a")));
      Lab.same("the first", Lab.next("an event", events).getKeyValue().getValue().toString(), "one");
      Lab.same("before the second", Lab.next("an event", events).getPrevKV().getValue().toString(), "one");
      WatchEvent deleted = Lab.next("a deletion", events);
      Lab.same("the third", deleted.getEventType(), EventType.DELETE);
      Lab.same("before the third", deleted.getPrevKV().getValue().toString(), "two");
      WatchEvent only = Lab.next("the deletion only", deletions);
      Lab.same("the same one", only.getKeyValue().getModRevision(), deleted.getKeyValue().getModRevision());
    }
    Lab.get(kv.put(lab.key("a"), Lab.bytes("unseen")));
    Lab.same("events after the end", events.size() + deletions.size(), 0);
    return "3 events from revision " + start + ", 1 of one kind";
  }

  static String lease(Lab lab) throws Exception {
    Client client = lab.client();
    KV kv = client.getKVClient();
    Lease leases = client.getLeaseClient();
    long kept = Lab.get(leases.grant(2)).getID();
    long began = System.nanoTime();
    long mortal = Lab.get(leases.grant(2)).getID();
    Lab.get(kv.put(lab.key("kept"), Lab.bytes(""), PutOption.builder().withLeaseId(kept).build()));
    long put = Lab.get(kv.put(lab.key("mortal"), Lab.bytes(""), PutOption.builder().withLeaseId(mortal).build()))
        .getHeader().getRevision();
    var left = Lab.get(leases.timeToLive(kept, LeaseOption.builder().withAttachedKeys().build()));
    Lab.same("the granted time", left.getGrantedTTL(), 2L);
    Lab.same("the number of keys", left.getKeys().size(), 1);
    BlockingQueue<WatchEvent> events = new LinkedBlockingQueue<>();
    BlockingQueue<LeaseKeepAliveResponse> signs = new LinkedBlockingQueue<>();
    WatchOption option = WatchOption.builder().isPrefix(true).withRevision(put + 1).build();
    try (CloseableClient keeping = leases.keepAlive(kept, Observers.observer(signs::add));
        Watch.Watcher watcher = client.getWatchClient().watch(lab.key(""), option,
            answer -> events.addAll(answer.getEvents()))) {
      WatchEvent ended = Lab.next("the end of the mortal one", events);
      Lab.same("what ended", ended.getKeyValue().getKey(), lab.key("mortal"));
      Lab.same("how", ended.getEventType(), EventType.DELETE);
      double lived = (System.nanoTime() - began) / 1e9;
      Lab.expect(lived > 1.5 && lived < 8, "it lived " + lived + " s");
      Lab.same("the time after a sign of life", Lab.next("a sign of life", signs).getTTL(), 2L);
      Lab.same("the kept key", Lab.get(kv.get(lab.key("kept"))).getCount(), 1L);
      Lab.get(leases.revoke(kept));
      Lab.same("the second end", Lab.next("the end by revocation", events).getKeyValue().getKey(), lab.key("kept"));
    }
    return signs.size() + 1 + " signs of life";
  }

  static String maintenance(Lab lab) throws Exception {
    Client client = lab.client();
    long revision = Lab.get(client.getKVClient().put(lab.key("a"), Lab.bytes("v".repeat(5000))))
        .getHeader().getRevision();
    StatusResponse status = Lab.get(client.getMaintenanceClient().statusMember(lab.endpoint));
    Lab.expect(status.getVersion().startsWith("3.7."), "the version is " + status.getVersion());
    var members = Lab.get(client.getClusterClient().listMember()).getMembers();
    Lab.same("the number of members", members.size(), 1);
    Lab.same("the leader", status.getLeader(), members.get(0).getId());
    Lab.same("its address", members.get(0).getClientURIs().toString(), "[" + lab.endpoint + "]");
    int hash = Lab.get(client.getMaintenanceClient().hashKV(lab.endpoint, revision)).getHash();
    Lab.get(client.getKVClient().put(lab.key("a"), Lab.bytes("changed")));
    Lab.same("the hash later", Lab.get(client.getMaintenanceClient().hashKV(lab.endpoint, revision)).getHash(), hash);
    ByteArrayOutputStream copy = new ByteArrayOutputStream();
    long length = Lab.get(client.getMaintenanceClient().snapshot(copy));
    Lab.same("the length of the snapshot", (long) copy.size(), length);
    Lab.expect(length > 5000, "the snapshot has " + length + " bytes");
    Lab.same("the alarms", Lab.get(client.getMaintenanceClient().listAlarms()).getAlarms().size(), 0);
    return "version " + status.getVersion() + ", a snapshot of " + length + " bytes";
  }

  /** The library takes the first message of a unary call for its answer: an error must come without one. */
  static String compaction(Lab lab) throws Exception {
    Client client = lab.client();
    KV kv = client.getKVClient();
    long first = Lab.get(kv.put(lab.key("a"), Lab.bytes("one"))).getHeader().getRevision();
    long second = Lab.get(kv.put(lab.key("a"), Lab.bytes("two"))).getHeader().getRevision();
    Lab.get(kv.compact(second, CompactOption.builder().withCompactPhysical(true).build()));
    try {
      Lab.get(kv.get(lab.key("a"), GetOption.builder().withRevision(first).build()));
      throw new AssertionError("a read from before the compaction");
    } catch (ExecutionException refused) {
      Lab.same("the code", Status.fromThrowable(refused).getCode(), Status.Code.OUT_OF_RANGE);
    }
    BlockingQueue<Throwable> errors = new LinkedBlockingQueue<>();
    WatchOption option = WatchOption.builder().withRevision(first).build();
    try (Watch.Watcher watcher = client.getWatchClient().watch(lab.key("a"), option,
        Watch.listener(answer -> { }, errors::add))) {
      Throwable error = Lab.next("the refusal", errors);
      Lab.expect(error instanceof CompactedException, "refused with " + error);
      Lab.same("the revision that is told", ((CompactedException) error).getCompactedRevision(), second);
    }
    return "compacted at " + second;
  }
}
