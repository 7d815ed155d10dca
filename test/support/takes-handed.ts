/** A program that takes descriptors as a host does, over the socket that it is told, and says how many it got to who is at the other end of the first. */
import { writeSync } from "node:fs";
import { takeHanded } from "../../ffi/descriptors.ts";
import { HANDED_NONCE } from "../../src/protocol/handed.ts";

const taken = takeHanded(process.argv[2]!, HANDED_NONCE, 2);
writeSync(taken[0]!, `${taken.length} descriptors\n`);
