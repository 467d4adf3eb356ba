import io.etcd.jetcd.ByteSequence;
import io.etcd.jetcd.Client;
import io.etcd.jetcd.KV;
import io.etcd.jetcd.KeyValue;
import io.etcd.jetcd.Watch;
import io.etcd.jetcd.lease.LeaseKeepAliveResponse;
import io.etcd.jetcd.options.GetOption;
import io.etcd.jetcd.options.LeaseOption;
import io.etcd.jetcd.options.PutOption;
import io.etcd.jetcd.options.WatchOption;
import io.etcd.jetcd.support.CloseableClient;
import io.etcd.jetcd.support.Observers;
import io.etcd.jetcd.watch.WatchEvent;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;

/** What outlives the end of the store. */
final class Restarted {
  private static final int WRITES_MAX = 20_000;

  private Restarted() {}

  /** jetcd resumes a watch by itself: each write has one event, in order, and no acknowledged write is gone. */
  static String watch(Lab lab) throws Exception {
    Client client = lab.client();
    KV kv = client.getKVClient();
    long start = Lab.get(kv.put(lab.key("begin"), Lab.bytes(""))).getHeader().getRevision() + 1;
    BlockingQueue<WatchEvent> events = new LinkedBlockingQueue<>();
    WatchOption option = WatchOption.builder().isPrefix(true).withRevision(start).build();
    Map<ByteSequence, Long> acknowledged = new ConcurrentHashMap<>();
    AtomicInteger failed = new AtomicInteger();
    AtomicBoolean stopped = new AtomicBoolean();
    try (Watch.Watcher watcher = lab.client().getWatchClient().watch(lab.key(""), option,
        answer -> events.addAll(answer.getEvents()))) {
      CompletableFuture<Void> writer = CompletableFuture.runAsync(() -> {
        long last = 0;
        for (int number = 0; number < WRITES_MAX && !stopped.get(); number++) {
          ByteSequence key = lab.key(String.format("%05d", number));
          try {
            long revision = kv.put(key, key).get(1, TimeUnit.SECONDS).getHeader().getRevision();
            Lab.expect(revision > last, "revisions go back from " + last + " to " + revision);
            acknowledged.put(key, revision);
            last = revision;
          } catch (Exception late) {
            failed.incrementAndGet();
          }
        }
      });
      Thread.sleep(300);
      lab.restart();
      int before = acknowledged.size();
      while (acknowledged.size() < before + 20) {
        if (writer.isDone()) {
          Lab.get(writer);
        }
        Thread.sleep(20);
      }
      stopped.set(true);
      Lab.get(writer);
      Lab.get(kv.put(lab.key("end"), Lab.bytes("")));
      List<String> seen = new ArrayList<>();
      for (boolean more = true; more;) {
        WatchEvent event = Lab.next("event " + seen.size(), events);
        seen.add(event.getKeyValue().getModRevision() + " " + event.getKeyValue().getKey());
        more = !event.getKeyValue().getKey().equals(lab.key("end"));
      }
      List<String> truth = new ArrayList<>();
      GetOption order = GetOption.builder().isPrefix(true).withMinModRevision(start)
          .withSortField(GetOption.SortTarget.MOD).withSortOrder(GetOption.SortOrder.ASCEND).build();
      for (KeyValue row : Lab.get(kv.get(lab.key(""), order)).getKvs()) {
        truth.add(row.getModRevision() + " " + row.getKey());
      }
      acknowledged.forEach((key, at) -> Lab.expect(truth.contains(at + " " + key), "the write of " + key + " is lost"));
      Lab.same("the events", seen, truth);
      return truth.size() + " writes and events, " + failed + " writes failed";
    }
  }

  /** A lease that the library keeps alive is there behind the restart, with its key. */
  static String lease(Lab lab) throws Exception {
    Client client = lab.client();
    long lease = Lab.get(client.getLeaseClient().grant(6)).getID();
    Lab.get(client.getKVClient().put(lab.key("a"), Lab.bytes(""), PutOption.builder().withLeaseId(lease).build()));
    BlockingQueue<LeaseKeepAliveResponse> signs = new LinkedBlockingQueue<>();
    try (CloseableClient keeping = client.getLeaseClient().keepAlive(lease, Observers.observer(signs::add))) {
      Lab.next("the first sign of life", signs);
      lab.restart();
      signs.clear();
      Lab.same("the time after a sign of life", Lab.next("a sign of life", signs).getTTL(), 6L);
      var left = Lab.get(client.getLeaseClient().timeToLive(lease, LeaseOption.builder().withAttachedKeys().build()));
      Lab.same("the number of its keys", left.getKeys().size(), 1);
      return left.getTTL() + " s left of 6";
    }
  }
}
