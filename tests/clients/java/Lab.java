import static java.nio.charset.StandardCharsets.UTF_8;

import io.etcd.jetcd.ByteSequence;
import io.etcd.jetcd.Client;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Objects;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/** What one scenario works with: clients, keys of its own, restarts, and checks that end it. */
final class Lab implements AutoCloseable {
  static final int CALL_S_MAX = 10;

  final String endpoint;
  private final String name;
  private final Main.Restarts restarts;
  private final Deque<Client> clients = new ArrayDeque<>();

  Lab(String endpoint, String name, Main.Restarts restarts) {
    this.endpoint = endpoint;
    this.name = name;
    this.restarts = restarts;
  }

  /** A client of its own: a connection of its own. */
  synchronized Client client() {
    Client client = Client.builder().endpoints(endpoint).connectTimeout(Duration.ofSeconds(5))
        .retryDelay(100).retryMaxDelay(500).retryMaxDuration(Duration.ofSeconds(10)).build();
    clients.push(client);
    return client;
  }

  ByteSequence key(String last) {
    return bytes("/registry/configmaps/java-" + name + "/" + last);
  }

  /** Comes back when the store has ended and runs again. */
  void restart() throws Exception {
    restarts.restart();
  }

  @Override
  public synchronized void close() {
    clients.forEach(Client::close);
  }

  static ByteSequence bytes(String text) {
    return ByteSequence.from(text, UTF_8);
  }

  /** What a call gave; its error is the scenario's. */
  static <T> T get(CompletableFuture<T> call) throws Exception {
    return call.get(CALL_S_MAX, TimeUnit.SECONDS);
  }

  static <T> T next(String what, BlockingQueue<T> queue) throws Exception {
    T value = queue.poll(CALL_S_MAX, TimeUnit.SECONDS);
    expect(value != null, "waited too long for " + what);
    return value;
  }

  static void expect(boolean ok, String text) {
    if (!ok) {
      throw new AssertionError(text);
    }
  }

  static void same(String what, Object got, Object wanted) {
    expect(Objects.equals(got, wanted), what + " is " + got + ", not " + wanted);
  }
}
