/**
 * Lets the classes of errors keep their names. Where modules share chunks, Bun 1.4.5 numbers a class that one of them exports again
 * (`UsageError2`), and programs read `error.constructor.name`.
 */
import { readFileSync } from "node:fs";

const CLASS = /^export (?:abstract )?class (\w+)/gm;

export const classNames: Bun.BunPlugin = {
  name: "class names",
  setup({ onLoad }) {
    onLoad({ filter: /\/src\/base\/error(?:s|\/[\w-]+)\.ts$/ }, ({ path }) => {
      const source = readFileSync(path, "utf8");
      const classes = [...source.matchAll(CLASS)].map(([, name]) => name).join(", ");
      const named = `for (const [value, type] of Object.entries({ ${classes} })) Object.defineProperty(type, "name", { value });`;
      return { contents: `${source}\n${named}\n`, loader: "ts" };
    });
  },
};
