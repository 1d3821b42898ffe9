package duolog.oracle;

import java.lang.reflect.Constructor;
import java.lang.reflect.Field;
import java.lang.reflect.ParameterizedType;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Random;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.protocol.types.BoundField;
import org.apache.kafka.common.protocol.types.Schema;
import org.apache.kafka.common.protocol.types.TaggedFields;
import org.apache.kafka.common.protocol.types.Type;
import org.apache.kafka.common.record.internal.BaseRecords;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.utils.internals.ImplicitLinkedHashCollection;

/** Fills a message with what the schema of a version has room for. */
final class Filler {
    /** Strings whose UTF-8 takes one to four bytes a character. */
    private static final String[] LETTERS = {"a", "Z", "7", "-", "_", " ", "é", "ß", "漢", "€", "😀"};
    private static final int MAX_BYTES = 40;
    /** Long enough for a compact length of two bytes. */
    private static final int LONG_BYTES = 200;

    private final Random random;
    private final Shape shape;

    Filler(Random random, Shape shape) {
        this.random = random;
        this.shape = shape;
    }

    void fill(Object target, Schema schema) throws ReflectiveOperationException {
        for (BoundField bound : schema.fields()) {
            if (bound.def.type instanceof TaggedFields tagged) {
                for (org.apache.kafka.common.protocol.types.Field field : tagged.fields().values()) {
                    if (setsTagged()) {
                        set(target, field.name, field.type);
                    }
                }
            } else {
                set(target, bound.def.name, bound.def.type);
            }
        }
    }

    private void set(Object target, String name, Type type) throws ReflectiveOperationException {
        Field field = member(target.getClass(), name);
        field.setAccessible(true);
        if (shape == Shape.DEFAULTS && (field.get(target) != null || type.isNullable())) {
            return;
        }
        if (type.isNullable() && setsNull()) {
            field.set(target, null);
            return;
        }
        field.set(target, value(field.getType(), field, type));
    }

    /** The schema's names are in snake case, those of the members in camel case. */
    private static Field member(Class<?> type, String name) throws NoSuchFieldException {
        String wanted = name.replace("_", "");
        for (Field field : type.getDeclaredFields()) {
            if (field.getName().equalsIgnoreCase(wanted)) {
                return field;
            }
        }
        throw new NoSuchFieldException(type + "." + name);
    }

    private Object value(Class<?> kind, Field field, Type type) throws ReflectiveOperationException {
        if (type.isArray()) {
            return array(kind, field, type.arrayElementType().orElseThrow());
        } else if (kind == boolean.class || kind == Boolean.class) {
            return random.nextBoolean();
        } else if (kind == byte.class || kind == Byte.class) {
            return (byte) random.nextInt();
        } else if (kind == short.class || kind == Short.class) {
            return (short) random.nextInt();
        } else if (kind == int.class || kind == Integer.class) {
            return type == Type.UINT16 ? random.nextInt(1 << 16) : random.nextInt();
        } else if (kind == long.class || kind == Long.class) {
            return type == Type.UNSIGNED_INT32 ? random.nextLong(1L << 32) : random.nextLong();
        } else if (kind == double.class || kind == Double.class) {
            return random.nextDouble();
        } else if (kind == Uuid.class) {
            return new Uuid(random.nextLong(), random.nextLong());
        } else if (kind == String.class) {
            return string();
        } else if (kind == byte[].class) {
            return bytes();
        } else if (kind == ByteBuffer.class) {
            return ByteBuffer.wrap(bytes());
        } else if (BaseRecords.class.isAssignableFrom(kind)) {
            return MemoryRecords.readableRecords(ByteBuffer.wrap(bytes()));
        }
        return structure(kind, type);
    }

    private Object structure(Class<?> kind, Type type) throws ReflectiveOperationException {
        Constructor<?> constructor = kind.getDeclaredConstructor();
        Object created = constructor.newInstance();
        fill(created, (Schema) type);
        return created;
    }

    @SuppressWarnings({"unchecked", "rawtypes"})
    private Object array(Class<?> kind, Field field, Type elementType) throws ReflectiveOperationException {
        Collection elements;
        Class<?> elementKind;
        if (ImplicitLinkedHashCollection.class.isAssignableFrom(kind)) {
            elements = (Collection) kind.getDeclaredConstructor().newInstance();
            elementKind = (Class<?>) ((ParameterizedType) kind.getGenericSuperclass()).getActualTypeArguments()[0];
        } else {
            elements = new ArrayList<>();
            elementKind = (Class<?>) ((ParameterizedType) field.getGenericType()).getActualTypeArguments()[0];
        }
        int count = count();
        for (int at = 0; at < count; at++) {
            elements.add(value(elementKind, field, elementType));
        }
        return elements;
    }

    private String string() {
        StringBuilder text = new StringBuilder();
        int length = length(LETTERS.length);
        for (int at = 0; at < length; at++) {
            text.append(LETTERS[random.nextInt(LETTERS.length)]);
        }
        return text.toString();
    }

    private byte[] bytes() {
        byte[] bytes = new byte[length(MAX_BYTES)];
        random.nextBytes(bytes);
        return bytes;
    }

    private int length(int usual) {
        return switch (shape) {
            case DEFAULTS, NULLS, EMPTY -> 0;
            case FULL -> 1 + random.nextInt(usual / 4);
            default -> random.nextInt(30) == 0 ? LONG_BYTES : random.nextInt(usual);
        };
    }

    private int count() {
        return switch (shape) {
            case DEFAULTS, NULLS, EMPTY -> 0;
            case FULL -> 1;
            default -> random.nextInt(4);
        };
    }

    private boolean setsNull() {
        return switch (shape) {
            case NULLS -> true;
            case DEFAULTS, EMPTY, FULL -> false;
            default -> random.nextInt(4) == 0;
        };
    }

    private boolean setsTagged() {
        return switch (shape) {
            case DEFAULTS, NULLS, EMPTY -> false;
            case FULL -> true;
            default -> random.nextBoolean();
        };
    }
}
