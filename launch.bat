@echo off
rem Finds a Python 3.10 to 3.13 and hands everything to app\bootstrap.py.
setlocal DisableDelayedExpansion
set "here=%~dp0"
set "check=import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))"
set "python="

rem The Microsoft Store's stand-in for python.exe fails the check as any unusable Python does.
if not exist "%here%.venv\Scripts\python.exe" goto search
"%here%.venv\Scripts\python.exe" -c "%check%" >nul 2>nul
if %errorlevel%==0 goto venv

:search
for %%v in (3.12 3.11 3.13 3.10) do if not defined python call :try py -%%v
for %%p in (python python3) do if not defined python call :try %%p
if defined python goto run
rem The text is UTF-8.
chcp 65001 >nul
type "%here%app\launch\no_python.txt"
set "code=2"
goto end

:try
%* -c "%check%" >nul 2>nul
if %errorlevel%==0 set "python=%*"
exit /b

:venv
"%here%.venv\Scripts\python.exe" "%here%app\bootstrap.py" %*
set "code=%errorlevel%"
goto end

:run
%python% "%here%app\bootstrap.py" %*
set "code=%errorlevel%"

:end
rem After a double-click the window would close before anyone has read what went wrong.
if not "%code%"=="0" if "%~1"=="" pause
exit /b %code%
