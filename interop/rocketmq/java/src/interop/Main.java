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
 * Runs every scenario, or those whose name contains the argument, and prints "ok NAME" or "FAILED NAME" for each. Those that restart
 * the server come last, one at a time.
 */
public final class Main {
    /** Most scenarios wait for the server, so several run at a time. */
    private static final int AT_A_TIME = 4;

    private Main() {}

    /** What clients do and what must come of it; throws when it does not. */
    interface Scenario {
        void run(Scope scope) throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        Server server = Server.fromEnvironment();
        String pattern = arguments.length > 0 ? arguments[0] : "";
        Map<String, Scenario> together = new TreeMap<>();
        for (Map<String, Scenario> some : List.of(
                Sending.scenarios(), Consuming.scenarios(), Offsets.scenarios(), Retries.scenarios(), Groups.scenarios(),
                Queries.scenarios(), Transactions.scenarios(), Release.scenarios(), server.hasKafka() ? Crossing.scenarios() : Map.<String, Scenario>of())) {
            together.putAll(some);
        }
        Map<String, Scenario> alone = new TreeMap<>(server.restarts() ? Restarts.scenarios() : Map.of());
        if (server.restarts()) {
            alone.putAll(Release.restarts());
        }
        together.keySet().removeIf(name -> !name.contains(pattern));
        alone.keySet().removeIf(name -> !name.contains(pattern));
        boolean allPassed = run(together, server, AT_A_TIME) & run(alone, server, 1) && !(together.isEmpty() && alone.isEmpty());
        System.exit(allPassed ? 0 : 1);
    }

    static boolean run(Map<String, Scenario> scenarios, Server server, int atATime) throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(atATime);
        List<Future<Boolean>> outcomes = scenarios.entrySet().stream()
                .map(entry -> threads.submit(() -> passes(entry.getKey(), entry.getValue(), server)))
                .toList();
        boolean allPassed = true;
        for (Future<Boolean> outcome : outcomes) {
            allPassed &= outcome.get();
        }
        threads.shutdownNow();
        return allPassed;
    }

    private static boolean passes(String name, Scenario scenario, Server server) {
        long start = System.nanoTime();
        try (Scope scope = new Scope(server)) {
            scenario.run(scope);
            scope.crossRead();
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
