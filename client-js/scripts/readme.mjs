// Writes into README.md what the build knows: the table of sizes and the script's integrity. `--check` fails if it is stale.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { sizes, table } from './size.mjs';

const readme = fileURLToPath(new URL('../README.md', import.meta.url));
const sri = readFileSync(new URL('../dist/claimr-relay.min.js.sri', import.meta.url), 'utf8').trim();
const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));

const before = readFileSync(readme, 'utf8');
const after = before
  .replace(/<!-- sizes -->[^]*?(?=\n\nReact, Vue)/, `<!-- sizes -->\n${table(await sizes())}`)
  .replace(/integrity="sha384-[^"]*"/, `integrity="${sri}"`)
  .replace(/claimr-relay@[\d.]+\/dist/, `claimr-relay@${version}/dist`);

// Another version of zlib packs a few bytes differently.
const numbers = (text) => [...text.matchAll(/^\| `.*?` \| ([\d,]+) \|/gm)].map(([, bytes]) => Number(bytes.replace(',', '')));
const words = (text) => text.replace(/^(\| `.*?` \|) [\d,]+ \|/gm, '$1');
const same = words(before) == words(after) && numbers(before).every((bytes, i) => Math.abs(bytes - numbers(after)[i]) <= 20);

if (!process.argv.includes('--check')) writeFileSync(readme, after);
else if (!same) {
  console.error('README.md is stale: run `npm run readme`');
  process.exitCode = 1;
}
