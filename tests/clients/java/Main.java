import io.etcd.jetcd.common.exception.EtcdException;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;

/**
 * Uses a store through jetcd: {@code java Main ENDPOINT [SCENARIO...]}.
 *
 * <p>Prints one JSON line for each scenario, {"name", "ok", "detail"}, and ends with 1 if one failed. A line
 * {"ask": "kill"} asks whoever started it to end the store that way and to start it again; it goes on when it
 * reads a line. Run by tests/e2e/test_clients.py, on a real etcd too.
 */
public final class Main {
  private static final int SCENARIO_S_MAX = 30;

  interface Scenario {
    /** What it saw, given that all is well. */
    String run(Lab lab) throws Exception;
  }

  /** Scenarios that run at once: first those without a restart, then those over one. */
  private static List<Map<String, Scenario>> groups() {
    Map<String, Scenario> together = new LinkedHashMap<>();
    together.put("put_get", Scenarios::putGet);
    together.put("txn", Scenarios::txn);
    together.put("watch", Scenarios::watch);
    together.put("lease", Scenarios::lease);
    together.put("maintenance", Scenarios::maintenance);
    together.put("lock_service", Services::lock);
    together.put("election_service", Services::election);
    Map<String, Scenario> alone = new LinkedHashMap<>();
    alone.put("compaction", Scenarios::compaction);
    Map<String, Scenario> restarting = new LinkedHashMap<>();
    restarting.put("restart_watch", Restarted::watch);
    restarting.put("restart_lease", Restarted::lease);
    return List.of(together, alone, restarting);
  }

  /** One restart for all scenarios of a group, when each of them has come to wait for it. */
  static final class Restarts {
    private static final BufferedReader INPUT = new BufferedReader(new InputStreamReader(System.in));
    private int running;
    private List<CountDownLatch> waiting = new ArrayList<>();

    Restarts(int running) {
      this.running = running;
    }

    void restart() throws Exception {
      CountDownLatch mine = new CountDownLatch(1);
      synchronized (this) {
        waiting.add(mine);
        askIfAll();
      }
      Lab.expect(mine.await(SCENARIO_S_MAX, TimeUnit.SECONDS), "no restart in time");
    }

    synchronized void ended() throws Exception {
      running--;
      askIfAll();
    }

    private void askIfAll() throws Exception {
      if (waiting.isEmpty() || waiting.size() < running) {
        return;
      }
      System.out.println("{\"ask\": \"kill\"}");
      Lab.expect(INPUT.readLine() != null, "nobody answered the wish for a restart");
      waiting.forEach(CountDownLatch::countDown);
      waiting = new ArrayList<>();
    }
  }

  private static boolean runOne(String name, Scenario scenario, String endpoint, Restarts restarts) throws Exception {
    String detail;
    boolean ok = true;
    try (Lab lab = new Lab(endpoint, name, restarts)) {
      detail = scenario.run(lab);
    } catch (Exception | AssertionError caught) {
      detail = described(caught);
      ok = false;
    }
    restarts.ended();
    System.out.printf("{\"name\": %s, \"ok\": %b, \"detail\": %s}%n", quoted(name), ok, quoted(detail));
    return ok;
  }

  /** What happened, why, and in which line of the scenario. */
  private static String described(Throwable caught) {
    StringBuilder text = new StringBuilder();
    for (Throwable one = caught; one != null; one = one.getCause()) {
      String code = one instanceof EtcdException etcd ? etcd.getErrorCode() + ": " : "";
      text.append(code).append(one).append("; ");
      for (StackTraceElement frame : one.getStackTrace()) {
        if (List.of("Scenarios", "Services", "Restarted").contains(frame.getClassName())) {
          text.append("at line ").append(frame.getLineNumber()).append(" of ").append(frame.getFileName()).append("; ");
          break;
        }
      }
    }
    return text.toString();
  }

  private static String quoted(String text) {
    StringBuilder quoted = new StringBuilder("\"");
    for (char one : text.toCharArray()) {
      boolean plain = one >= ' ' && one != '"' && one != '\\';
      quoted.append(plain ? String.valueOf(one) : String.format("\\u%04x", (int) one));
    }
    return quoted.append('"').toString();
  }

  public static void main(String[] arguments) throws Exception {
    if (arguments.length == 0) {
      System.err.println("usage: Main ENDPOINT [SCENARIO...]");
      System.exit(2);
    }
    List<String> wanted = List.of(arguments).subList(1, arguments.length);
    boolean failed = false;
    ExecutorService threads = Executors.newCachedThreadPool();
    for (Map<String, Scenario> group : groups()) {
      if (!wanted.isEmpty()) {
        group.keySet().retainAll(wanted);
      }
      Restarts restarts = new Restarts(group.size());
      List<Future<Boolean>> results = new ArrayList<>();
      group.forEach((name, scenario) ->
          results.add(threads.submit(() -> runOne(name, scenario, arguments[0], restarts))));
      for (Future<Boolean> result : results) {
        failed |= !result.get(2 * SCENARIO_S_MAX, TimeUnit.SECONDS);
      }
    }
    System.exit(failed ? 1 : 0);
  }
}
