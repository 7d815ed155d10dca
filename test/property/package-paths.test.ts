/** Whatever a path looks like: one that is accepted stays below the folder that it is joined to. */
import { expect, test } from "bun:test";
import { resolve, sep } from "node:path";
import fc from "fast-check";
import { PackageInvalid } from "../../src/base/errors.ts";
import {
  encodeManifest,
  hashOf,
  makeManifest,
  parseManifest,
  pathFault,
} from "../../src/package/contents/manifest.ts";

const odd = fc.constantFrom("..", ".", "", "/", "\\", "a", "b.js", "\0", "..\\..", "...", "~");
const path = fc.oneof(
  fc.string({ unit: "binary", maxLength: 40 }),
  fc
    .array(fc.oneof(odd, fc.string({ maxLength: 8 })), { maxLength: 6 })
    .map((parts) => parts.join("/")),
);

test("an accepted path stays in the package, and is its own normal form", () => {
  fc.assert(
    fc.property(path, (path) => {
      if (pathFault(path)) return;
      const root = "/cache/stored/hash/root";
      expect(resolve(root, path)).toBe(`${root}${sep}${path}`);
    }),
    { numRuns: 5000 },
  );
});

test("a manifest survives its bytes, or is refused as a whole", () => {
  const file = fc.record({
    path,
    bytes: fc.nat(),
    sha256: fc.stringMatching(/^[0-9a-f]{64}$/),
    executable: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(file, { minLength: 1, maxLength: 6 }), (files) => {
      let made;
      try {
        made = makeManifest("fn.ts", files[0]!.path, files);
      } catch (error) {
        expect(error).toBeInstanceOf(PackageInvalid);
        return;
      }
      const bytes = encodeManifest(made);
      expect(parseManifest(bytes)).toEqual(made);
      expect(encodeManifest(makeManifest("fn.ts", files[0]!.path, files.toReversed()))).toEqual(
        bytes,
      );
      expect(hashOf(bytes)).toHaveLength(64);
    }),
  );
});

test("bytes that are no manifest are refused, never misread", () => {
  const sound = encodeManifest(
    makeManifest("fn.ts", "fn.js", [
      { path: "fn.js", bytes: 1, sha256: "ab".repeat(32), executable: false },
    ]),
  );
  fc.assert(
    fc.property(fc.nat({ max: sound.length - 1 }), fc.nat({ max: 255 }), (at, byte) => {
      const changed = sound.slice();
      changed[at] = byte;
      try {
        expect(encodeManifest(parseManifest(changed))).toEqual(changed);
      } catch (error) {
        expect(error).toBeInstanceOf(PackageInvalid);
      }
    }),
  );
});
