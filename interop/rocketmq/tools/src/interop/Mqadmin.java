package interop;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.rocketmq.tools.command.MQAdminStartup;

/** Runs commands of `mqadmin` in this process, one at a time, and catches what they print. */
final class Mqadmin extends MQAdminStartup {
    static final String CLUSTER = "DefaultCluster";

    private final String nameServer;

    Mqadmin(Server server) {
        // Of several always the same: each names itself in its routes, and commands look for a broker's address there.
        nameServer = server.nameServer.split(";")[0];
    }

    /** What a command prints. It also prints what went wrong, with the exception's full name. */
    String run(String... command) {
        List<String> all = new ArrayList<>(List.of(command));
        all.addAll(List.of("-n", nameServer));
        ByteArrayOutputStream printed = new ByteArrayOutputStream();
        PrintStream out = System.out;
        PrintStream err = System.err;
        try (PrintStream catching = new PrintStream(printed, true, StandardCharsets.UTF_8)) {
            System.setOut(catching);
            System.setErr(catching);
            // Each run makes the commands anew: some keep a client that they have closed.
            SUB_COMMANDS.clear();
            main0(all.toArray(String[]::new), null);
        } finally {
            System.setOut(out);
            System.setErr(err);
        }
        return printed.toString(StandardCharsets.UTF_8);
    }

    /** What a command prints that is expected to succeed. */
    String good(String... command) {
        String printed = run(command);
        Check.that(!Pattern.compile("\\.\\w*Exception\\b").matcher(printed).find(), String.join(" ", command) + " fails:\n" + printed);
        return printed;
    }

    /** What a pattern finds in what a command prints that is expected to succeed. */
    Matcher shows(String pattern, String... command) {
        String printed = good(command);
        Matcher matcher = Pattern.compile(pattern, Pattern.MULTILINE).matcher(printed);
        Check.that(matcher.find(), String.join(" ", command) + " does not show " + pattern + ":\n" + printed);
        return matcher;
    }

    void hides(String pattern, String... command) {
        String printed = good(command);
        Check.that(!Pattern.compile(pattern, Pattern.MULTILINE).matcher(printed).find(), String.join(" ", command) + " shows " + pattern + ":\n" + printed);
    }

    /** Repeats a command until it shows what is expected. */
    void willShow(String pattern, String... command) throws Exception {
        Pattern compiled = Pattern.compile(pattern, Pattern.MULTILINE);
        String[] last = new String[1];
        try {
            Check.eventually(pattern, () -> {
                last[0] = run(command);
                return compiled.matcher(last[0]).find();
            });
        } catch (AssertionError never) {
            throw new AssertionError(String.join(" ", command) + " does not show " + pattern + ":\n" + last[0], never);
        }
    }

    /** The only broker's address. */
    String brokerAddress() {
        return shows("^" + CLUSTER + "\\s+\\S+\\s+0\\s+(\\S+:\\d+)\\s", "clusterList").group(1);
    }

    String brokerName() {
        return shows("^" + CLUSTER + "\\s+(\\S+)\\s+0\\s+\\S+:\\d+\\s", "clusterList").group(1);
    }
}
