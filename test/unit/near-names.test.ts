import { describe, expect, test } from "bun:test";
import { nearNames, nearest } from "../../src/base/near-names.ts";

const many = Array.from({ length: 100 }, (_, i) => `f${String(i).padStart(3, "0")}`);

test("a few names are all shown, in their order", () => {
  expect(nearNames("x", ["b", "a"])).toBe("b, a");
  expect(nearNames("x", many.slice(0, 20))).toEndWith("f018, f019");
});

test("of many names those that begin alike are shown, and how many more there are", () => {
  expect(nearNames("f07x", many)).toStartWith("f070, f071, f072");
  expect(nearNames("f07x", many)).toEndWith(" and 80 more");
});

test("of many names one that holds the wrong one comes first, as a mangled name does", () => {
  expect(nearNames("price", [...many, "_Z5pricePvjS_"])).toStartWith("_Z5pricePvjS_, ");
});

describe("nearest", () => {
  const words = ["serve", "invoke", "bench", "doctor"];

  test.each([
    ["invok", "invoke"],
    ["serv", "serve"],
    ["bnech", "bench"],
    ["docter", "doctor"],
    ["bench", "bench"],
    ["Serve", "serve"],
    ["invokeAll", "invoke"],
    ["doc", "doctor"],
  ])("takes %p for %p", (word, meant) => {
    expect(nearest(word, words)).toBe(meant);
  });

  test("suggests nothing for a word that is like none", () => {
    expect(nearest("deploy-everything", words)).toBeUndefined();
    expect(nearest("xyz", words)).toBeUndefined();
    expect(nearest("-x", ["-o", "--out"])).toBeUndefined();
    expect(nearest("bench", [])).toBeUndefined();
  });

  test("allows more mistakes in longer words", () => {
    expect(nearest("--outptsiz", ["--output-size"])).toBe("--output-size");
    expect(nearest("--o", ["--output-size"])).toBeUndefined();
  });
});
