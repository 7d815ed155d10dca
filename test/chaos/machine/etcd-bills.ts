/** Prints the bills that etcd has, of each lease what was written last: `etcd-bills.ts URL PREFIX`, within the run's network. */
import { gunzipSync } from "node:zlib";
import type { FinalBill } from "../../../src/manager/cluster-state/cluster-state.ts";

export type EtcdBill = FinalBill;

if (import.meta.main) {
  const [url, prefix] = process.argv.slice(2) as [string, string];
  const under = async (name: string): Promise<Buffer[]> => {
    const [from, end] = [`${prefix}/${name}/`, `${prefix}/${name}0`];
    const response = await fetch(`${url}/v3/kv/range`, {
      method: "POST",
      body: JSON.stringify({ key: btoa(from), range_end: btoa(end) }),
    });
    const { kvs = [] } = (await response.json()) as { kvs?: { value: string }[] };
    return kvs.map(({ value }) => Buffer.from(value, "base64"));
  };
  const past = (await under("past")).flatMap(
    (value) => JSON.parse(gunzipSync(value).toString()) as FinalBill[],
  );
  const single = (await under("bills")).map((value) => JSON.parse(value.toString()) as FinalBill);
  const last = new Map([...past, ...single].map((bill) => [bill.lease, bill]));
  console.log(JSON.stringify([...last.values()]));
}
