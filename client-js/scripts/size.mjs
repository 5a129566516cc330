// Prints what each entry costs a page, minified and gzipped, and fails over budget. `--json` for machines.
import { gzipSync } from 'node:zlib';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Entry, file, budget in bytes, and what a page that uses it has anyway. */
const ENTRIES = [
  ['.', 'index', 4000],
  ['./ws', 'only-ws', 3000],
  ['./sse', 'only-sse', 3200],
  ['./react', 'react', 700],
  ['./vue', 'vue', 500],
  ['./svelte', 'svelte', 500],
  ['./query', 'query', 500],
  ['./shared', 'shared', 1000, 'index'],
  ['script tag', 'script', 5000],
];

async function bundle(files, format = 'esm') {
  const { outputFiles } = await build({
    stdin: { contents: files.map((file) => `export * from './dist/${file}.js';`).join(''), resolveDir: root },
    bundle: true,
    minify: true,
    format,
    globalName: format == 'iife' ? 'ClaimrRelay' : undefined,
    target: 'es2022',
    external: ['react', 'vue'],
    write: false,
  });
  return gzipSync(outputFiles[0].contents, { level: 9 }).length;
}

export async function sizes() {
  return Promise.all(
    ENTRIES.map(async ([entry, file, budget, base]) => {
      // What shares the core costs what it adds to it.
      const bytes = base ? (await bundle([base, file])) - (await bundle([base])) : await bundle([file], file == 'script' ? 'iife' : 'esm');
      return { entry, bytes, budget };
    }),
  );
}

export function table(rows) {
  const number = (n) => n.toLocaleString('en-US');
  return [
    '| entry | bytes, min + gzip -9 | budget |',
    '| --- | ---: | ---: |',
    ...rows.map(({ entry, bytes, budget }) => `| \`${entry}\` | ${number(bytes)} | ${number(budget)} |`),
  ].join('\n');
}

if (process.argv[1] == fileURLToPath(import.meta.url)) {
  const rows = await sizes();
  console.log(process.argv.includes('--json') ? JSON.stringify(rows) : table(rows));
  for (const { entry, bytes, budget } of rows) {
    if (bytes <= budget) continue;
    console.error(`${entry} is ${bytes - budget} bytes over its budget`);
    process.exitCode = 1;
  }
}
