"""The policy of the pages: nothing runs but the site's own files, and all that a page can do is still done."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
from browser import Listener, chromium, served
from playwright.sync_api import Browser, Page

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "html"
POLICY = runpy.run_path(str(ROOT / "book/_ext/policy.py"))
strict, META, INLINE, SCRIPT, DATA, HANDLER = (
    POLICY[name] for name in ("strict", "META", "INLINE", "SCRIPT", "DATA", "HANDLER")
)
HEAD = '<html><head><meta charset="utf-8" />'
SOURCES = {"default-src", "script-src", "worker-src", "style-src", "img-src", "font-src", "connect-src"}


def test_the_policy_allows_no_text_to_become_a_script() -> None:
    rules = dict(rule.split(" ", 1) for rule in POLICY["POLICY"].split("; "))
    assert rules["script-src"] == "'self'"
    assert rules["object-src"] == "'none'"
    assert all("http" not in value and "*" not in value for value in rules.values())
    assert rules.keys() >= SOURCES


@pytest.mark.parametrize("code", ["let a = 1;", "\n  document.title = '</b>';\n", "alert('ü')"])
def test_scripts_of_a_page_become_files(code: str) -> None:
    page, moved = strict(f"{HEAD}<script>{code}</script></head><body></body></html>", "../../")
    assert list(moved.values()) == [code]
    assert f'<script src="../../{INLINE}/{next(iter(moved))}"></script>' in page
    assert page.index(META) < page.index("<script")
    assert strict(page, "../../") == (page, {})


@pytest.mark.parametrize(
    "kept",
    [
        '<script type="application/json" class="uqv-data">{"a": 1}</script>',
        '<script type="application/vnd.jupyter.widget-state+json">{}</script>',
        '<script defer src="../_static/a.js"></script>',
        '<img alt="one = two, onset = 3">',
        "<p>set onclick=&quot;a()&quot;</p>",
    ],
)
def test_data_and_words_are_left_alone(kept: str) -> None:
    page, moved = strict(f"{HEAD}</head><body>{kept}</body></html>", "")
    assert kept in page
    assert moved == {}


@pytest.mark.parametrize(
    "refused",
    [
        '<button class="a" onclick="steal()">x</button>',
        "<img src='a.png' onerror='steal()'>",
        '<a title="x" href="javascript:steal()">x</a>',
    ],
)
def test_a_script_in_an_attribute_stops_the_build(refused: str) -> None:
    with pytest.raises(ValueError, match="refused by the policy"):
        strict(f"{HEAD}</head><body>{refused}</body></html>", "")


def test_a_page_without_a_head_is_named(tmp_path: Path) -> None:
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "bare.html").write_text("<p>nothing</p>")
    app = SimpleNamespace(builder=SimpleNamespace(format="html"), outdir=str(tmp_path))
    with pytest.raises(ValueError, match=r"book/bare\.html: no <head>"):
        POLICY["apply"](app, None)


HOSTILE = """{head}<link rel="icon" href="data:,"></head><body data-done="">
<button onclick="window.print()">print</button> <button onclick="toggleFullScreen()">full</button>
<script>document.body.dataset.done += 'moved ';</script>
<script src="own.js"></script></body></html>"""
OWN = """
window.print = () => { document.body.dataset.done += 'print '; };
window.toggleFullScreen = () => { document.body.dataset.done += 'full '; };
document.addEventListener('securitypolicyviolation', (event) => {
  document.body.dataset.refused = (document.body.dataset.refused || '') + event.effectiveDirective + ' ';
});
"""
ATTACKS = {
    "a script in the page": "(() => { const s = document.createElement('script'); s.textContent = 'window.bad = 1';"
    " document.body.append(s); })()",
    "a handler": "document.body.insertAdjacentHTML('beforeend', '<img src=\"x:\" onerror=\"window.bad = 1\">')",
    "text as code": "document.body.insertAdjacentHTML('beforeend',"
    " '<iframe srcdoc=\"<script>parent.bad = 1</script>\">')",
    "a script of another server": "(() => { const s = document.createElement('script');"
    " s.src = 'http://other.example/bad.js'; document.body.append(s); })()",
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of one page."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "page.html").write_text(HOSTILE.format(head=HEAD))
    (folder / "own.js").write_text(OWN)
    app = SimpleNamespace(builder=SimpleNamespace(format="html"), outdir=str(folder))
    POLICY["copy_script"](app)
    POLICY["apply"](app, None)
    return folder


def test_what_the_theme_wrote_into_the_page_still_works(small: Path) -> None:
    with chromium() as browser, served(small) as home:
        page = browser.new_page()
        with Listener(page, home) as listener:
            page.goto(f"{home}/page.html")
            for name in ("print", "full"):
                page.get_by_text(name).click()
        assert page.locator("body").get_attribute("data-done") == "moved print full "
        assert listener.problems == []


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_is_not_a_file_of_the_site_does_not_run(attack: str, small: Path) -> None:
    with chromium() as browser, served(small) as home:
        page = browser.new_page()
        page.goto(f"{home}/page.html")
        page.evaluate(ATTACKS[attack])
        page.wait_for_timeout(500)
        assert page.evaluate("window.bad") is None
        if "iframe" not in ATTACKS[attack]:
            assert "script-src" in (page.locator("body").get_attribute("data-refused") or "")


def test_every_page_of_the_site_is_under_the_policy(address: str) -> None:
    pages = [path for path in SITE.rglob("*.html") if "_static" not in path.parts]
    assert len(pages) > 30
    for path in pages:
        html = path.read_text(encoding="utf-8")
        if path == SITE / "index.html":
            assert "script-src 'none'" in html
            continue
        assert html.count(META) == 1, path
        loud = [
            found[0][:80] for found in SCRIPT.finditer(html) if "src=" not in found[1] and not DATA.search(found[1])
        ]
        assert loud == [], path
        assert not HANDLER.search(SCRIPT.sub("", html)), path


def test_search_copy_tables_and_formulas_work_under_it(browser: Browser, address: str) -> None:
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.set_default_timeout(90_000)
    with Listener(page, address) as listener:
        page.goto(f"{address}/search.html?q=ensemble")
        page.locator("#search-results li").first.wait_for()
        page.goto(f"{address}/book/why_uncertainty.html", wait_until="networkidle")
        page.locator("mjx-container").first.wait_for()
        table = page.locator("table:has(button)").first
        seen = {table.inner_text()}
        for _ in range(2):  # up and down
            table.locator("button").nth(1).click()
            seen.add(table.inner_text())
        assert len(seen) > 1
        button = page.locator("button.copybtn").first
        button.evaluate(
            "(one) => new MutationObserver(() => { window.copied = one.className; }).observe(one, { attributes: true })"
        )
        button.dispatch_event("click")
        page.wait_for_function("/success/.test(window.copied || '')")
    assert listener.problems == []
    context.close()


def test_the_buttons_of_the_theme_print_and_fill_the_screen(page: Page, address: str) -> None:
    page.add_init_script("window.print = () => { window.printed = true; };")
    page.goto(f"{address}/book/painn.html")
    assert page.locator("[onclick]").count() == 0
    for what in ("print", "full-screen"):
        assert page.locator(f'[data-click="{what}"]').count(), what
        page.locator(f'[data-click="{what}"]').first.dispatch_event("click")
    page.wait_for_function("window.printed && document.fullscreenElement !== undefined")
