package interop;

import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;

/** Assertions, and waiting for something to become true. */
final class Check {
    /** Longer than a session timeout, shorter than anybody's patience. */
    private static final long DEADLINE_MS = 30_000;

    private Check() {}

    static void that(boolean condition, String message) {
        if (!condition) {
            throw new AssertionError(message);
        }
    }

    static void equal(Object expected, Object actual) {
        that(Objects.equals(expected, actual), "expected " + expected + ", got " + actual);
    }

    /** Repeats until it gives true. What it does must itself take a moment, as a poll does. */
    static void eventually(String what, Callable<Boolean> attempt) throws Exception {
        eventually(what, DEADLINE_MS, attempt);
    }

    /** The same, with a deadline of its own. */
    static void eventually(String what, long deadlineMs, Callable<Boolean> attempt) throws Exception {
        long deadline = System.nanoTime() + deadlineMs * 1_000_000;
        while (!attempt.call()) {
            that(System.nanoTime() < deadline, "not within " + deadlineMs + " ms: " + what);
            Thread.sleep(5);
        }
    }

    /** The exception of this class with which the attempt ends, directly or as a future's cause. */
    static <E extends Throwable> E fails(Class<E> expected, Callable<?> attempt) {
        try {
            attempt.call();
        } catch (Throwable thrown) {
            Throwable cause = thrown instanceof ExecutionException ? thrown.getCause() : thrown;
            if (expected.isInstance(cause)) {
                return expected.cast(cause);
            }
            throw new AssertionError("expected " + expected.getSimpleName() + ", got " + cause, cause);
        }
        throw new AssertionError("expected " + expected.getSimpleName() + ", nothing was thrown");
    }
}
