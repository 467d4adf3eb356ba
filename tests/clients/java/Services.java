import io.etcd.jetcd.Client;
import io.etcd.jetcd.Election;
import io.etcd.jetcd.election.LeaderKey;
import io.etcd.jetcd.election.LeaderResponse;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.atomic.AtomicInteger;

/** Locks and elections: jetcd has the server do them, by services of their own. */
final class Services {
  private Services() {}

  static String lock(Lab lab) throws Exception {
    Client client = lab.client();
    AtomicInteger inside = new AtomicInteger();
    Lab.get(client.getKVClient().put(lab.key("counter"), Lab.bytes("0")));
    List<CompletableFuture<Void>> workers = new ArrayList<>();
    for (int worker = 0; worker < 3; worker++) {
      workers.add(CompletableFuture.runAsync(() -> {
        try {
          Client mine = lab.client();
          long lease = Lab.get(mine.getLeaseClient().grant(30)).getID();
          for (int turn = 0; turn < 3; turn++) {
            var key = Lab.get(mine.getLockClient().lock(lab.key("lock"), lease)).getKey();
            Lab.same("how many are inside", inside.incrementAndGet(), 1);
            var now = Lab.get(mine.getKVClient().get(lab.key("counter"))).getKvs().get(0).getValue().toString();
            Lab.get(mine.getKVClient().put(lab.key("counter"), Lab.bytes("" + (Integer.parseInt(now) + 1))));
            inside.decrementAndGet();
            Lab.get(mine.getLockClient().unlock(key));
          }
        } catch (Exception caught) {
          throw new IllegalStateException(caught);
        }
      }));
    }
    for (CompletableFuture<Void> one : workers) {
      Lab.get(one);
    }
    Lab.same("the counter", Lab.get(client.getKVClient().get(lab.key("counter"))).getKvs().get(0).getValue().toString(),
        "9");
    return "9 turns of 3 clients, one at a time";
  }

  static String election(Lab lab) throws Exception {
    Client first = lab.client();
    Client second = lab.client();
    long one = Lab.get(first.getLeaseClient().grant(30)).getID();
    long two = Lab.get(second.getLeaseClient().grant(30)).getID();
    LeaderKey key = Lab.get(first.getElectionClient().campaign(lab.key("e"), one, Lab.bytes("one"))).getLeader();
    BlockingQueue<String> leaders = new LinkedBlockingQueue<>();
    lab.client().getElectionClient().observe(lab.key("e"), new Election.Listener() {
      @Override
      public void onNext(LeaderResponse leader) {
        leaders.add(leader.getKv().getValue().toString());
      }

      @Override
      public void onError(Throwable error) {
        leaders.add(error.toString());
      }

      @Override
      public void onCompleted() {
        leaders.add("completed");
      }
    });
    Lab.same("the leader", Lab.next("a leader", leaders), "one");
    var successor = second.getElectionClient().campaign(lab.key("e"), two, Lab.bytes("two"));
    Lab.get(first.getElectionClient().proclaim(key, Lab.bytes("still one")));
    Lab.same("the leader's word", Lab.next("a word", leaders), "still one");
    Lab.expect(!successor.isDone(), "two lead");
    Lab.get(first.getElectionClient().resign(key));
    Lab.get(successor);
    Lab.same("the next leader", Lab.next("a leader", leaders), "two");
    Lab.same("who leads", Lab.get(first.getElectionClient().leader(lab.key("e"))).getKv().getValue().toString(), "two");
    return "two leaders, one after the other";
  }
}
