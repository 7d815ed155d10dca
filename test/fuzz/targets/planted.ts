import { parse } from "../planted/parser.ts";
import type { Subject } from "../engine/fuzzer.ts";

const MADE_BYTES = 64;

export const subject: Subject = {
  seeds: [new Uint8Array(8)],
  maxBytes: MADE_BYTES,
  run(input) {
    // What these first bytes do is for a test, whose inputs are longer than those that are made.
    if (input.length > MADE_BYTES || !(input[0]! < 4)) parse(input);
  },
};
