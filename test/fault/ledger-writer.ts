/** Records batches until it is killed or the ledger fails, and says of each that it is saved once it was told so. */
import { writeSync } from "node:fs";
import { LedgerUnavailable } from "../../src/base/errors.ts";
import { Ledger } from "../../src/manager/ledger/ledger.ts";
import { batch } from "./ledger-batches.ts";

const [path, round] = process.argv.slice(2);
const say = (what: string): void => void writeSync(1, `${what}\n`);

say("started");
try {
  const ledger = Ledger.open(path!);
  say("opened");
  for (let n = 0; ; n++) {
    ledger.record(batch(Number(round), n));
    say(`saved ${n}`);
  }
} catch (error) {
  if (!(error instanceof LedgerUnavailable)) throw error;
  say(`failed ${error.message}`);
}
