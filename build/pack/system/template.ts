/** The templates of `packaging/`, where `@NAME@` stands for what only the build knows. */
import { readFileSync } from "node:fs";
import { join } from "node:path";

const PACKAGING = join(import.meta.dir, "..", "..", "..", "packaging");

/** A template with its values. Throws where it has a name without a value, or not a value's name. */
export function filled(template: string, values: Readonly<Record<string, string>>): string {
  const used = new Set<string>();
  const text = readFileSync(join(PACKAGING, template), "utf8").replace(
    /@([A-Z_0-9]+)@/g,
    (_, name) => {
      used.add(name);
      const value = values[name];
      if (value === undefined)
        throw new Error(`packaging/${template} asks for ${name}, which has no value`);
      return value;
    },
  );
  const unused = Object.keys(values).filter((name) => !used.has(name));
  if (unused.length > 0)
    throw new Error(`packaging/${template} has no place for ${unused.join(", ")}`);
  return text;
}
