import { Kind, type TSchema } from "@sinclair/typebox";

/** A value that a schema describes, with all that it may have. */
export function sample(schema: TSchema): unknown {
  switch (schema[Kind]) {
    case "Literal":
      return schema["const"];
    case "Integer":
    case "Number":
      return schema["minimum"] ?? 1;
    case "Boolean":
      return true;
    case "Null":
      return null;
    case "Uint8Array":
      return new Uint8Array(schema["minByteLength"] ?? 3);
    case "Array":
      return [sample(schema["items"])];
    case "Tuple":
      return (schema["items"] as TSchema[]).map(sample);
    case "Union":
      return sample(schema["anyOf"][0]);
    case "Record":
      return {};
    case "Object":
      return Object.fromEntries(
        Object.entries<TSchema>(schema["properties"]).map(([name, part]) => [name, sample(part)]),
      );
    case "String":
      return stringOf(schema["pattern"], schema["minLength"] ?? 0);
    default:
      return "text";
  }
}

const stringOf = (pattern: string | undefined, least: number): string => {
  const digits = /^\^\[0-9a-f\]\{(\d+)\}\$$/.exec(pattern ?? "")?.[1];
  return "a".repeat(digits === undefined ? Math.max(least, 1) : Number(digits));
};
