package duolog.oracle;

import java.io.DataOutputStream;
import java.io.IOException;
import java.lang.reflect.Modifier;
import java.net.URI;
import java.net.URL;
import java.nio.ByteBuffer;
import java.nio.file.FileSystem;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.ObjectSerializationCache;
import org.apache.kafka.common.protocol.types.Schema;

/**
 * Writes samples of every message of Kafka at every version, serialized by Kafka's own classes.
 *
 * <p>Arguments: the file to write, then the shapes of the samples to take (see {@link Shape}), comma-separated. The file is a
 * sequence of entries: length of the name (two bytes), name, version (two bytes), length of the message (four bytes), message.
 * The content is random with a fixed seed, so that two runs give the same file.
 */
public final class Oracle {
    private static final long SEED = 20260101;
    /** A class of each jar, by which the jar is found, and the package whose messages are wanted. */
    private static final Map<String, String> SOURCES = Map.of(
        "org.apache.kafka.common.message.ProduceRequestData", "org/apache/kafka/common/message",
        "org.apache.kafka.coordinator.group.generated.OffsetCommitKey", "org/apache/kafka/coordinator/group/generated",
        "org.apache.kafka.coordinator.transaction.generated.TransactionLogKey", "org/apache/kafka/coordinator/transaction/generated",
        "org.apache.kafka.coordinator.share.generated.ShareSnapshotKey", "org/apache/kafka/coordinator/share/generated");

    private Oracle() { }

    public static void main(String[] arguments) throws Exception {
        List<Shape> shapes = Stream.of(arguments[1].split(",")).map(Shape::valueOf).toList();
        int entries = 0;
        try (DataOutputStream out = new DataOutputStream(Files.newOutputStream(Path.of(arguments[0])))) {
            for (Class<? extends ApiMessage> type : messages().values()) {
                entries += write(type, shapes, out);
            }
        }
        System.out.println(entries + " samples");
    }

    /** All message classes by their names, so in a fixed order. */
    private static Map<String, Class<? extends ApiMessage>> messages() throws Exception {
        Map<String, Class<? extends ApiMessage>> found = new TreeMap<>();
        for (Map.Entry<String, String> source : SOURCES.entrySet()) {
            URL jar = Class.forName(source.getKey()).getProtectionDomain().getCodeSource().getLocation();
            try (FileSystem files = FileSystems.newFileSystem(URI.create("jar:" + jar), Map.of());
                    Stream<Path> paths = Files.list(files.getPath(source.getValue()))) {
                for (Path path : (Iterable<Path>) paths::iterator) {
                    String name = path.getFileName().toString();
                    if (mayBeMessage(name)) {
                        String className = source.getValue().replace('/', '.') + "." + name.substring(0, name.length() - 6);
                        Class<?> type = Class.forName(className);
                        if (ApiMessage.class.isAssignableFrom(type) && !Modifier.isAbstract(type.getModifiers())) {
                            found.put(messageName(type), type.asSubclass(ApiMessage.class));
                        }
                    }
                }
            }
        }
        return found;
    }

    /** Nested classes belong to a message; converters to JSON need a library that is not here. */
    private static boolean mayBeMessage(String file) {
        return file.endsWith(".class") && !file.contains("$") && !file.contains("JsonConverter");
    }

    /** The descriptor's name: the classes of requests, responses and headers have "Data" appended. */
    private static String messageName(Class<?> type) {
        return type.getSimpleName().replaceFirst("(Request|Response|Header)Data$", "$1");
    }

    private static int write(Class<? extends ApiMessage> type, List<Shape> shapes, DataOutputStream out) throws Exception {
        String name = messageName(type);
        ApiMessage sample = type.getConstructor().newInstance();
        int entries = 0;
        for (int version = sample.lowestSupportedVersion(); version <= sample.highestSupportedVersion(); version++) {
            Schema schema = ((Schema[]) type.getField("SCHEMAS").get(null))[version];
            for (Shape shape : shapes) {
                Random random = new Random(SEED ^ name.hashCode() ^ ((long) version << 32) ^ ((long) shape.ordinal() << 48));
                ApiMessage message = type.getConstructor().newInstance();
                new Filler(random, shape).fill(message, schema);
                writeEntry(name, (short) version, message, out);
                entries++;
            }
        }
        return entries;
    }

    private static void writeEntry(String name, short version, ApiMessage message, DataOutputStream out) throws IOException {
        ObjectSerializationCache cache = new ObjectSerializationCache();
        ByteBuffer buffer = ByteBuffer.allocate(message.size(cache, version));
        message.write(new ByteBufferAccessor(buffer), cache, version);
        if (buffer.hasRemaining()) {
            throw new IllegalStateException(name + " wrote less than it announced");
        }
        out.writeUTF(name);
        out.writeShort(version);
        out.writeInt(buffer.capacity());
        out.write(buffer.array());
    }
}
