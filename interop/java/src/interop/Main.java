package interop;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/**
 * Runs every scenario, or those whose name contains the second argument, and prints "ok NAME" or "FAILED NAME" for each. Those that restart
 * the server come last, one at a time.
 */
public final class Main {
    /** Most scenarios wait for the broker, so several run at a time. */
    private static final int AT_A_TIME = 4;

    private Main() {}

    /** What a client does and what must come of it; throws when it does not. */
    interface Scenario {
        void run(Broker broker) throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        Broker broker = new Broker(arguments[0], System.getenv().getOrDefault("CONTROL", ""));
        String pattern = arguments.length > 1 ? arguments[1] : "";
        Map<String, Scenario> together = new TreeMap<>();
        for (Map<String, Scenario> some : List.of(
                Producing.scenarios(), Consuming.scenarios(), Groups.scenarios(), Offsets.scenarios(), Topics.scenarios(),
                Configs.scenarios(), Cluster.scenarios(), Sharing.scenarios())) {
            together.putAll(some);
        }
        Map<String, Scenario> alone = new TreeMap<>(broker.restarts() ? Sharing.restarts() : Map.of());
        together.keySet().removeIf(name -> !name.contains(pattern));
        alone.keySet().removeIf(name -> !name.contains(pattern));
        boolean allPassed = run(together, broker, AT_A_TIME) & run(alone, broker, 1) && !(together.isEmpty() && alone.isEmpty());
        System.exit(allPassed ? 0 : 1);
    }

    private static boolean run(Map<String, Scenario> scenarios, Broker broker, int atATime) throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(atATime);
        List<Future<Boolean>> outcomes = scenarios.entrySet().stream()
                .map(entry -> threads.submit(() -> passes(entry.getKey(), entry.getValue(), broker)))
                .toList();
        boolean allPassed = true;
        for (Future<Boolean> outcome : outcomes) {
            allPassed &= outcome.get();
        }
        threads.shutdownNow();
        return allPassed;
    }

    private static boolean passes(String name, Scenario scenario, Broker broker) {
        long start = System.nanoTime();
        try {
            scenario.run(broker);
            System.out.println("ok " + name + " (" + (System.nanoTime() - start) / 1_000_000 + " ms)");
            return true;
        } catch (Throwable failure) {
            StringWriter trace = new StringWriter();
            failure.printStackTrace(new PrintWriter(trace));
            System.out.println("FAILED " + name + "\n    " + trace.toString().replace("\n", "\n    "));
            return false;
        }
    }
}
